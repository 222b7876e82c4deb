package vtable

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

// What the bus answers to RequestName.
const namePrimaryOwner = 1

var nameReasons = map[uint32]string{
	2: "another program owns it, and this one only got into the queue",
	3: "another program owns it",
	4: "this connection owns it already",
}

// RequestName asks the bus for a name and fails unless this connection is its
// owner then. flags are the bus's (1 allow replacement, 2 replace, 4 do not
// queue). It may be called before Run, so that every object is there before
// the name; if ctx ends in the middle of that the server is of no more use.
func (s *Server) RequestName(ctx context.Context, name string, flags uint32) error {
	s.own(name, true)
	result, err := s.requestName(ctx, name, flags)
	if err == nil && result != namePrimaryOwner {
		reason, ok := nameReasons[result]
		if !ok {
			reason = fmt.Sprintf("the bus answered %d", result)
		}
		err = errors.New(reason)
	}
	if err != nil {
		s.own(name, false)
		return fmt.Errorf("cannot own the name %s: %w", name, err)
	}
	return nil
}

func (s *Server) own(name string, owned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned[name] = owned
}

// releaseNames gives all names back. When it returns, every call to them that
// the bus has sent us has been accepted.
func (s *Server) releaseNames(ctx context.Context) error {
	s.mu.Lock()
	var names []string
	for name, owned := range s.owned {
		if owned {
			names = append(names, name)
			s.owned[name] = false // losing it is no failure now
		}
	}
	s.mu.Unlock()
	for _, name := range names {
		var e wire.Encoder
		e.Text(name)
		if _, err := s.callBus(ctx, &wire.Header{Member: "ReleaseName", Signature: "s"}, e.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) requestName(ctx context.Context, name string, flags uint32) (uint32, error) {
	var e wire.Encoder
	e.Text(name)
	e.Uint32(flags)
	if err := e.Err(); err != nil {
		return 0, err
	}
	reply, err := s.callBus(ctx, &wire.Header{Member: "RequestName", Signature: "su"}, e.Bytes())
	if err != nil {
		return 0, err
	}
	if reply.Signature != "u" {
		return 0, fmt.Errorf("the bus answered with %q", reply.Signature)
	}
	var d wire.Decoder
	d.Reset(reply)
	result := d.Uint32()
	return result, d.Close()
}

// nobody is the user of senders that have left, and of those that the bus tells
// nothing of.
const nobody = math.MaxUint32

// userOf asks the bus whose the unique name sender is.
func (s *Server) userOf(sender string) uint32 {
	var e wire.Encoder
	e.Text(sender)
	reply, err := s.callBus(s.dispatcher.ctx, &wire.Header{Member: "GetConnectionUnixUser", Signature: "s"}, e.Bytes())
	if err != nil || reply.Signature != "u" {
		s.cfg.Log.Debug("the bus does not tell whose a connection is", "sender", sender, "error", err)
		return nobody
	}
	var d wire.Decoder
	d.Reset(reply)
	user := d.Uint32()
	if d.Close() != nil {
		return nobody
	}
	return user
}

// callBus calls a method of the bus itself.
func (s *Server) callBus(ctx context.Context, h *wire.Header, body []byte) (*wire.Message, error) {
	h.Type, h.Serial = wire.TypeCall, s.conn.NextSerial()
	h.Destination, h.Path, h.Interface = wire.BusName, wire.BusPath, wire.BusInterface

	answer := make(chan *wire.Message, 1)
	s.mu.Lock()
	s.pending[h.Serial] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, h.Serial)
		s.mu.Unlock()
	}()
	s.conn.Send(h, body, nil)
	reply, err := s.await(ctx, answer)
	if err != nil {
		return nil, err
	}
	if reply.Type != wire.TypeError {
		return reply, nil
	}
	remote := &machine1.RemoteError{Name: reply.ErrorName}
	if types, ok := wire.SplitSignature(reply.Signature); ok && len(types) > 0 && types[0] == "s" {
		var d wire.Decoder
		d.Reset(reply)
		remote.Text = d.Text()
	}
	return nil, remote
}

// await waits for an answer. As long as nobody else reads the connection, it
// does so itself.
func (s *Server) await(ctx context.Context, answer <-chan *wire.Message) (*wire.Message, error) {
	if s.reading.TryLock() {
		defer s.reading.Unlock()
		return s.readAnswer(ctx, answer)
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ended:
		return nil, machine1.ErrDisconnected
	}
}

func (s *Server) readAnswer(ctx context.Context, answer <-chan *wire.Message) (*wire.Message, error) {
	if err := s.conn.Flush(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.conn.Stop)
	defer stop()
	for {
		m, err := s.conn.Read()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, fmt.Errorf("%w: %w", machine1.ErrDisconnected, err)
		}
		s.handle(m)
		select {
		case m := <-answer:
			return m, nil
		default:
		}
	}
}
