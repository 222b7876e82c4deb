package varlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// writeTimeout is how long a caller may take to read one answer.
const writeTimeout = 30 * time.Second

// A conn serves one caller: its calls one after the other, as it sent them.
type conn struct {
	*net.UnixConn
	server *Server
	uid    uint32 // counted in the server's usage until serve returns
	log    *slog.Logger
}

// serve answers calls until the caller leaves, breaks the protocol, or ctx
// ends. The caller may close its sending side and still gets its answers.
func (c *conn) serve(ctx context.Context) {
	defer c.server.usage.leave(c.uid)
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	frames := newFrameReader(c.UnixConn, c.server.frameTimeout, func(n int) bool {
		return c.server.usage.reserve(c.uid, n)
	})
	defer frames.close()
	for {
		frame, err := frames.next(ctx)
		if err == nil {
			err = c.answer(ctx, frame)
		}
		switch {
		case err == nil:
			continue
		case ctx.Err() == nil && !errors.Is(err, io.EOF):
			c.log.Debug("varlink connection dropped", "error", err)
		}
		return
	}
}

// answer handles one message. Its error ends the connection.
func (c *conn) answer(ctx context.Context, frame []byte) error {
	m, err := parseMessage(frame)
	if err != nil {
		return fmt.Errorf("cannot parse message: %w", err)
	}
	call := &Call{Method: m.method, More: m.more, Conn: c.UnixConn, send: c.send}
	defer call.closeFDs()
	if m.oneway {
		// Whoever wants no answer need not stay.
		call.send = func(reply, []int) error { return nil }
		c.run(ctx, call, m.parameters)
		return nil
	}
	var result any
	err = c.whileConnected(ctx, func(ctx context.Context) (err error) {
		result, err = c.run(ctx, call, m.parameters)
		return err
	})
	if ctx.Err() != nil && call.streaming {
		return ctx.Err() // the stream ends with the server; that is no error of the method's
	}
	err = call.finish(result, c.server.errorOf(err))
	if err == nil && call.hangUp {
		return errHungUp
	}
	return err
}

var errHungUp = errors.New("the method has hung up")

// run finds the method, checks the input, and calls it.
func (c *conn) run(ctx context.Context, call *Call, parameters members) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("varlink method panicked", "method", call.Method, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errors.New("internal error")
		}
	}()
	method, ok := c.server.methods[call.Method]
	if !ok {
		return nil, methodNotFound(call.Method)
	}
	if method.more == Once {
		call.More = false
	}
	if method.more == OnlyStream && !call.More {
		return nil, ErrExpectedMore
	}
	if call.In, err = method.in.check(parameters); err != nil {
		return nil, err
	}
	return method.call(ctx, call)
}

// whileConnected runs fn with a context that ends if the caller hangs up.
func (c *conn) whileConnected(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, serverKey{}, ctx))
	defer cancel()
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if hungUp(c.UnixConn) {
			cancel()
		}
	}()
	err := fn(ctx)
	c.SetReadDeadline(time.Unix(1, 0))
	<-watched
	return err
}

type serverKey struct{}

// Detach returns the context that a method runs in, but for that it goes on if
// the caller hangs up. It is for what must not be left half done.
func Detach(ctx context.Context) context.Context {
	if server, ok := ctx.Value(serverKey{}).(context.Context); ok {
		return server
	}
	return ctx
}

// send writes one frame, and fds with its first byte.
func (c *conn) send(r reply, fds []int) error {
	frame, err := r.encode()
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if len(fds) > 0 {
		n, _, err := c.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
		if err != nil {
			return err
		}
		frame = frame[n:]
	}
	_, err = c.Write(frame)
	return err
}

// errorOf makes err an error that can be sent.
func (s *Server) errorOf(err error) *Error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	}
	return s.config.ErrorOf(err)
}
