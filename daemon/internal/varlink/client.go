package varlink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// CallMethod calls one method at the socket path and decodes the answer's
// parameters into out, which may be nil. An error that the service gives is an
// *Error whose Parameters are a json.RawMessage.
func CallMethod(ctx context.Context, path, method string, in, out any) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	answer, err := exchange(c, method, in)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	var r struct {
		Error      string
		Parameters json.RawMessage
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("cannot decode answer: %w", err)
	}
	switch {
	case r.Error != "":
		return &Error{Name: r.Error, Parameters: r.Parameters}
	case out == nil || len(r.Parameters) == 0:
		return nil
	}
	return json.Unmarshal(r.Parameters, out)
}

// exchange sends one call and returns the first answer.
func exchange(c net.Conn, method string, in any) ([]byte, error) {
	call, err := json.Marshal(struct {
		Method     string `json:"method"`
		Parameters any    `json:"parameters,omitempty"`
	}{method, in})
	if err != nil {
		return nil, fmt.Errorf("cannot encode call: %w", err)
	}
	if _, err := c.Write(append(call, 0)); err != nil {
		return nil, err
	}
	var answer []byte
	chunk := make([]byte, readBuffer)
	for {
		n, err := c.Read(chunk)
		if i := bytes.IndexByte(chunk[:n], 0); i >= 0 {
			return append(answer, chunk[:i]...), nil
		}
		answer = append(answer, chunk[:n]...)
		switch {
		case len(answer) > maxAnswer:
			return nil, errFrameTooLong
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// maxAnswer bounds what a service may make us hold, in bytes.
const maxAnswer = 16 << 20
