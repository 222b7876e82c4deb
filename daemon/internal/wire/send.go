package wire

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// NextSerial returns the serial number for one more message of ours.
func (c *Conn) NextSerial() uint32 {
	for {
		if serial := c.serial.Add(1); serial != 0 {
			return serial
		}
	}
}

// Send queues a message and never blocks. It fills in the serial number if
// there is none and how many descriptors there are. The descriptors are
// closed once they are sent, or when they cannot be. body may be reused.
func (c *Conn) Send(h *Header, body []byte, fds []int) {
	c.Queue(h, body, fds)
	c.Wake()
}

// Queue is Send for who is going to call TryFlush or Wake: it wakes nobody to
// write.
func (c *Conn) Queue(h *Header, body []byte, fds []int) {
	if h.Serial == 0 {
		h.Serial = c.NextSerial()
	}
	h.UnixFDs = uint32(len(fds))
	c.out.push(h, body, fds)
}

// sharedBody is from which length on a body is not copied, in bytes. Shorter
// ones are better written together with others.
const sharedBody = 16 << 10

// QueueShared is Queue for a body that never changes and is sent many times.
func (c *Conn) QueueShared(h *Header, body []byte) {
	if len(body) < sharedBody {
		c.Queue(h, body, nil)
		return
	}
	if h.Serial == 0 {
		h.Serial = c.NextSerial()
	}
	c.out.pushShared(h, body)
}

// Wake makes Write look at what is queued.
func (c *Conn) Wake() { c.out.wake() }

// Wait waits while so much is queued that more of it should not be made. It
// returns at once when the connection has been closed.
func (c *Conn) Wait() { c.out.wait(crowded) }

// WaitFull is Wait for who must not be held up by the many who use Wait. It
// waits only when there is a danger for the process's memory.
func (c *Conn) WaitFull() { c.out.wait(full) }

// Crowded reports whether Wait would wait.
func (c *Conn) Crowded() bool { return c.out.isCrowded() }

// Write writes what is queued until ctx ends, and what is queued by then.
func (c *Conn) Write(ctx context.Context) error {
	for {
		if err := c.Flush(); err != nil {
			return err
		}
		select {
		case <-c.out.added:
		case <-ctx.Done():
			return c.Flush()
		}
	}
}

// Flush writes what is queued now.
func (c *Conn) Flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.flush(true)
}

// TryFlush writes what is queued as far as that is possible at once, and
// leaves the rest, and every error, to Write. It spares waking that one.
func (c *Conn) TryFlush() {
	if c.writing.TryLock() {
		err := c.flush(false)
		c.writing.Unlock()
		if err == nil {
			return
		}
	}
	c.Wake()
}

// flush writes what is queued. If it may not wait it returns EAGAIN when it
// would have to. The caller holds writing.
func (c *Conn) flush(wait bool) error {
	for {
		s, ok := c.out.take()
		if !ok {
			return nil
		}
		if err := c.writeSegment(&s, wait); err != nil {
			c.out.putBack(s)
			return fmt.Errorf("cannot write to the bus: %w", err)
		}
		c.out.written(s)
	}
}

func (c *Conn) writeSegment(s *segment, wait bool) error {
	for s.sent < s.len() {
		data, tail := s.rest()
		n, err := c.sock.send(data, tail, s.fds, wait)
		if len(s.fds) > 0 && unsendable(err) {
			c.sendFailure(s.header, err)
			n, err = s.len(), nil
		}
		if err != nil {
			return err
		}
		s.sent += n
		CloseAll(s.fds)
		s.fds = nil
	}
	return nil
}

// unsendable reports whether err is about the descriptors, so that nothing
// has been written and the connection is still good.
func unsendable(err error) bool {
	return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ETOOMANYREFS)
}

// sendFailure tells whoever waits for the reply h that its descriptors could
// not be passed.
func (c *Conn) sendFailure(h *Header, err error) {
	if h.Type != TypeReply {
		return
	}
	var e Encoder
	e.Text("cannot pass a descriptor: " + err.Error())
	c.Queue(&Header{
		Type: TypeError, Flags: NoReplyExpected, ReplySerial: h.ReplySerial, Destination: h.Destination,
		ErrorName: "org.freedesktop.DBus.Error.Failed", Signature: "s",
	}, e.Bytes(), nil)
}
