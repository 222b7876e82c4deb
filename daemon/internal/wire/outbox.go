package wire

import (
	"slices"
	"sync"
)

const (
	// segmentSize is how much is written at once, in bytes.
	segmentSize = 64 << 10
	// maxSpare is the biggest buffer that is kept for another message.
	maxSpare = 256 << 10
	// crowded is how many bytes may wait before Wait blocks. Who has asked for
	// little waits for the bus to take all this, behind those who asked for more.
	crowded = 128 << 10
	// full is how many may wait before WaitFull blocks.
	full = 8 << 20
)

// A segment is written at once. A message that passes descriptors or shares its
// body has one of its own.
type segment struct {
	data   []byte
	tail   []byte // behind data; shared with others, so it is never changed
	sent   int    // how much of both has been written
	fds    []int
	header *Header // of the message that passes fds
}

func (s *segment) len() int { return len(s.data) + len(s.tail) }

// rest returns what has not been written of data and of tail.
func (s *segment) rest() (data, tail []byte) {
	n := min(s.sent, len(s.data))
	return s.data[n:], s.tail[s.sent-n:]
}

// An outbox is the messages that wait to be written, in order and without
// bound: it never blocks who adds one.
type outbox struct {
	added chan struct{} // holds one element if something was added

	mu       sync.Mutex
	room     sync.Cond // the outbox is not crowded any more
	segments []segment
	first    [1]segment // memory for the usual case: one at a time
	bytes    int        // of the segments and of those being written
	spare    []byte
	closed   bool
}

func (o *outbox) init() {
	o.added = make(chan struct{}, 1)
	o.room.L = &o.mu
}

// push adds a message and owns fds from then on.
func (o *outbox) push(h *Header, body []byte, fds []int) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		CloseAll(fds)
		return
	}
	s := o.last(len(body)+len(h.Path)+512, len(fds) > 0)
	before := len(s.data)
	s.data = append(h.append(s.data, len(body)), body...)
	if len(fds) > 0 {
		header := *h
		s.fds, s.header = fds, &header
	}
	o.bytes += len(s.data) - before
	o.mu.Unlock()
}

// pushShared adds a message whose body is not copied.
func (o *outbox) pushShared(h *Header, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	s := segment{data: h.append(nil, len(body)), tail: body}
	o.segments = append(o.segments, s)
	o.bytes += s.len()
}

// wake wakes who waits for something to write.
func (o *outbox) wake() {
	select {
	case o.added <- struct{}{}:
	default:
	}
}

// last returns the segment that a message of about n bytes goes to. The
// caller holds mu.
func (o *outbox) last(n int, alone bool) *segment {
	if i := len(o.segments) - 1; i >= 0 && !alone {
		s := &o.segments[i]
		if len(s.fds) == 0 && s.tail == nil && len(s.data)+n <= segmentSize {
			return s
		}
	}
	data := o.spare
	o.spare = nil
	if data == nil {
		data = make([]byte, 0, max(n, 4<<10))
	}
	o.segments = append(o.segments, segment{data: data})
	return &o.segments[len(o.segments)-1]
}

// take removes the first segment.
func (o *outbox) take() (segment, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.segments) == 0 {
		return segment{}, false
	}
	s := o.segments[0]
	o.segments[0] = segment{}
	if o.segments = o.segments[1:]; len(o.segments) == 0 {
		o.segments = o.first[:0]
	}
	return s, true
}

// putBack makes s the first segment again: the bus took only a part of it.
func (o *outbox) putBack(s segment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		CloseAll(s.fds)
		return
	}
	o.segments = slices.Insert(o.segments, 0, s)
}

// written notes that s has left, and keeps its memory for another one.
func (o *outbox) written(s segment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.bytes
	o.bytes -= s.len()
	if was > crowded && o.bytes <= crowded || was > full && o.bytes <= full {
		o.room.Broadcast()
	}
	if cap(s.data) <= maxSpare && cap(s.data) > cap(o.spare) {
		o.spare = s.data[:0]
	}
}

// wait waits until no more than limit bytes are in the outbox, which is crowded
// or full, or it is closed.
func (o *outbox) wait(limit int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > limit && !o.closed {
		o.room.Wait()
	}
}

// isCrowded reports whether wait would wait.
func (o *outbox) isCrowded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes > crowded
}

// close closes the descriptors that wait to be sent and those that come.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.segments {
		CloseAll(s.fds)
	}
	o.segments, o.closed = nil, true
	o.room.Broadcast()
}
