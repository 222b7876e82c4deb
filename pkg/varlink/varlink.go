// Package varlink is being a client of Varlink services: one call after the
// other, with descriptors. It knows nothing of any service.
package varlink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/machd/machd/pkg/socket"
	"golang.org/x/sys/unix"
)

const (
	maxAnswer      = 1 << 20 // bytes; nobody sends that much to be waited for
	maxDescriptors = 16      // that come with one answer
)

// An Error is what a service answers instead of a result.
type Error struct {
	Name       string // such as "io.systemd.Machine.NoSuchMachine"
	Parameters json.RawMessage
}

func (e *Error) Error() string { return e.Name }

// A Conn is a connection to a service. One goroutine may use it.
type Conn struct{ c *net.UnixConn }

// Dial connects to the service at a socket's path.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return &Conn{c.(*net.UnixConn)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.c.Close() }

// Call calls a method with what in is as JSON, nil for nothing, sends files
// along, and decodes the answer into out, which may be nil. The files that come
// with the answer are the caller's.
func (c *Conn) Call(ctx context.Context, method string, in, out any, files ...*os.File) (received []*os.File, err error) {
	stop := context.AfterFunc(ctx, func() { c.c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, received, err := c.exchange(method, in, files)
	if err == nil {
		err = decode(answer, out)
	}
	if err == nil {
		return received, nil
	}
	for _, f := range received {
		_ = f.Close()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, err
}

func decode(answer []byte, out any) error {
	var r struct {
		Error      string
		Parameters json.RawMessage
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("cannot decode the answer: %w", err)
	}
	switch {
	case r.Error != "":
		return &Error{Name: r.Error, Parameters: r.Parameters}
	case out == nil || len(r.Parameters) == 0:
		return nil
	}
	if err := json.Unmarshal(r.Parameters, out); err != nil {
		return fmt.Errorf("cannot decode the answer: %w", err)
	}
	return nil
}

func (c *Conn) exchange(method string, in any, files []*os.File) (answer []byte, received []*os.File, err error) {
	call, err := json.Marshal(struct {
		Method     string `json:"method"`
		Parameters any    `json:"parameters,omitempty"`
	}{method, in})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode the call: %w", err)
	}
	if err := c.send(append(call, 0), files); err != nil {
		return nil, nil, err
	}
	return c.receive()
}

// send puts the descriptors with the first bytes.
func (c *Conn) send(message []byte, files []*os.File) error {
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.c.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = c.c.Write(message[n:])
	}
	return err
}

func (c *Conn) receive() (answer []byte, received []*os.File, err error) {
	chunk, rights := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(4*maxDescriptors))
	for {
		n, control, _, _, err := c.c.ReadMsgUnix(chunk, rights)
		n, control = max(n, 0), max(control, 0) // -1 if nothing came
		files, _ := socket.Files(rights[:control])
		received = append(received, files...)
		answer = append(answer, chunk[:n]...)
		end := bytes.IndexByte(answer, 0)
		switch {
		case end >= 0:
			return answer[:end], received, nil
		case len(answer) > maxAnswer || len(received) > maxDescriptors:
			return nil, received, errors.New("the answer is too long")
		case errors.Is(err, io.EOF) || err == nil && n == 0:
			return nil, received, io.ErrUnexpectedEOF
		case err != nil:
			return nil, received, err
		}
	}
}
