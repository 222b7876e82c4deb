package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	if h.Serial == 0 {
		h.Serial = c.NextSerial()
	}
	h.UnixFDs = uint32(len(fds))
	c.out.push(h, body, fds)
}

// Wait waits while so much is queued that more of it should not be made. It
// returns at once when the connection has been closed.
func (c *Conn) Wait() { c.out.wait() }

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

// StopWriting makes Write fail unless it is done within d.
func (c *Conn) StopWriting(d time.Duration) { c.sock.SetWriteDeadline(time.Now().Add(d)) }

// Flush writes what is queued now.
func (c *Conn) Flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		segments := c.out.take()
		if len(segments) == 0 {
			return nil
		}
		for i, s := range segments {
			if err := c.writeSegment(s); err != nil {
				for _, unsent := range segments[i+1:] {
					CloseAll(unsent.fds)
				}
				return fmt.Errorf("cannot write to the bus: %w", err)
			}
			c.out.written(s)
		}
	}
}

func (c *Conn) writeSegment(s segment) error {
	defer CloseAll(s.fds)
	data := s.data
	if len(s.fds) > 0 {
		n, _, err := c.sock.WriteMsgUnix(data, unix.UnixRights(s.fds...), nil)
		if unsendable(err) {
			c.sendFailure(&s.header, err)
			return nil
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	_, err := c.sock.Write(data)
	return err
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
	c.Send(&Header{
		Type: TypeError, Flags: NoReplyExpected, ReplySerial: h.ReplySerial, Destination: h.Destination,
		ErrorName: "org.freedesktop.DBus.Error.Failed", Signature: "s",
	}, e.Bytes(), nil)
}
