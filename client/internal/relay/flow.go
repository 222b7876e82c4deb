package relay

import "sync"

// A room is how much input may still be sent.
type room struct {
	mu   sync.Mutex
	more sync.Cond
	left int
	over bool
}

func newRoom() *room {
	r := &room{left: window}
	r.more.L = &r.mu
	return r
}

// take waits until there is room for a payload, and takes as much of it. It
// reports false when the relay is over.
func (r *room) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.left < maxPayload && !r.over {
		r.more.Wait()
	}
	r.left -= maxPayload
	return !r.over
}

func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += n
	r.more.Broadcast()
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.more.Broadcast()
}

// An inbox is input that the command has not taken yet, as much as the window
// at most.
type inbox struct {
	mu    sync.Mutex
	more  sync.Cond
	bytes []byte
	ended bool
}

func newInbox() *inbox {
	b := &inbox{}
	b.more.L = &b.mu
	return b
}

func (b *inbox) put(bytes []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes = append(b.bytes, bytes...)
	b.more.Broadcast()
}

func (b *inbox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.more.Broadcast()
}

// take waits for input and takes what there is, nothing if that was all.
func (b *inbox) take() (bytes []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.bytes) == 0 && !b.ended {
		b.more.Wait()
	}
	bytes, b.bytes = b.bytes, nil
	return bytes
}
