package varlink

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// A Call is one call of a method.
type Call struct {
	Method string // with the interface
	In     Object // as the method's row has it
	More   bool   // the caller takes a stream; always false if the row says Once

	// Conn tells who is calling. It is not to be read or written.
	Conn *net.UnixConn

	send   func(reply, []int) error
	hangUp bool
	// streaming says that a record went out by Notify: the caller follows something.
	streaming bool
	pending   any // the last record emitted, not sent before its successor is known
	fds       []int
}

// Emit answers with one record of a stream. Only the last record may go out
// without "continues", so each leaves when the next one comes. Its error means
// that the caller does not read any more, or did not ask for a second record.
func (c *Call) Emit(record any) error {
	if err := c.flush(); err != nil {
		return err
	}
	c.pending = record
	return nil
}

// Notify is Emit for a stream that waits for events: the record leaves at
// once, and promises another.
func (c *Call) Notify(record any) error {
	if err := c.Emit(record); err != nil {
		return err
	}
	c.streaming = true
	return c.flush()
}

func (c *Call) flush() error {
	switch {
	case c.pending == nil:
		return nil
	case !c.More:
		return ErrExpectedMore
	}
	r := reply{Parameters: c.pending, Continues: true}
	c.pending = nil
	return c.send(r, nil)
}

// HangUp closes the connection after the last answer.
func (c *Call) HangUp() { c.hangUp = true }

// SendFD passes fd, which it owns from then on, along with the last answer,
// and returns the index that stands for it there.
func (c *Call) SendFD(fd int) int {
	c.fds = append(c.fds, fd)
	return len(c.fds) - 1
}

// finish sends the last answer.
func (c *Call) finish(result any, failed *Error) error {
	if failed != nil {
		if err := c.flush(); err != nil && !errors.Is(err, ErrExpectedMore) {
			return err
		}
		return c.send(reply{Error: failed.Name, Parameters: failed.Parameters}, nil)
	}
	if result == nil {
		result = c.pending
	}
	return c.send(reply{Parameters: result}, c.fds)
}

func (c *Call) closeFDs() {
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	c.fds = nil
}
