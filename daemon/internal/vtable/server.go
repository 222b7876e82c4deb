package vtable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// drainTime is how long Run waits, once for handlers whose context has
	// ended and once for the bus to take what is queued.
	drainTime = time.Second
	// leaveTime is how long Run goes on answering what came before its end.
	leaveTime = 250 * time.Millisecond
	// maxEarly is how many calls are kept that come before Run.
	maxEarly = 256
)

// Config is what a Server serves with.
type Config struct {
	Tree Tree
	Log  *slog.Logger
	// ErrorName returns the D-Bus name of an error; machine1.ErrorName does.
	ErrorName func(error) string
	// MachineID returns the host's machine ID as 32 hex digits.
	MachineID func() (string, error)
}

// A Server serves a Tree on one connection to a bus.
type Server struct {
	cfg        Config
	conn       *wire.Conn
	dispatcher *dispatcher
	lanes      *lanes
	encoders   sync.Pool
	ended      chan struct{} // closed when Run returns or Close is called
	nameLost   chan string

	mu      sync.Mutex
	closed  bool
	pending map[uint32]chan *wire.Message // our calls, by serial number
	owned   map[string]bool               // names

	// reading is held by whoever reads the connection: Run, or before it a call
	// of our own. It guards the rest.
	reading sync.Mutex
	serving bool
	early   []*wire.Message
	handed  bool // calls to goroutines that have not run yet
}

// Dial connects to the bus at address, a D-Bus address list. Calls that come
// before Run wait for it.
func Dial(ctx context.Context, address string, cfg Config) (*Server, error) {
	conn, err := wire.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:        cfg,
		conn:       conn,
		dispatcher: newDispatcher(cfg, conn),
		ended:      make(chan struct{}),
		nameLost:   make(chan string, 1),
		pending:    make(map[uint32]chan *wire.Message),
		owned:      make(map[string]bool),
	}
	s.lanes = newLanes(s.dispatcher.serve, s.userOf, conn)
	s.encoders.New = func() any { return new(wire.Encoder) }
	return s, nil
}

// UniqueName returns the name that the bus gave this connection.
func (s *Server) UniqueName() string { return s.conn.Name() }

// Run serves until ctx ends, and returns nil then, or until the connection or
// a name is lost. It may be called once. At the end the names are given back
// and the calls that have come by then are answered, so that none is lost to a
// restart; those that take longer have their contexts ended. Replies that are
// ready still leave if the bus takes them soon.
func (s *Server) Run(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.serve(calls)

	// The writer outlives ctx, for the last replies.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	wg.Go(func() { failed <- s.read() })
	wg.Go(func() { failed <- s.conn.Write(writing) })

	var err error
	select {
	case <-ctx.Done():
		s.retire(context.WithoutCancel(ctx))
	case err = <-failed:
		err = fmt.Errorf("%w: the bus connection was lost: %w", machine1.ErrDisconnected, err)
	case name := <-s.nameLost:
		err = fmt.Errorf("the name %s was lost to another program", name)
	}
	cancel()
	s.lanes.stop(drainTime)
	stopWriting()
	s.drain(&wg)
	s.Close()
	return err
}

// retire gives the names back and lets the calls end that were on their way:
// what comes to a name afterwards the bus keeps for its next owner.
func (s *Server) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := s.releaseNames(ctx); err != nil {
		s.cfg.Log.Debug("cannot give a name back", "error", err)
	}
	s.lanes.settle(ctx)
}

// drain lets the writer write what is queued, but not for ever, and ends the
// reader.
func (s *Server) drain(io *sync.WaitGroup) {
	written := make(chan struct{})
	go func() {
		s.conn.Flush()
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(drainTime):
	}
	s.conn.Stop()
	<-written
	io.Wait()
}

// serve begins to answer calls, those first that came before.
func (s *Server) serve(ctx context.Context) {
	s.dispatcher.begin(ctx)
	s.serving = true
	for _, m := range s.early {
		s.accept(m)
	}
	s.early = nil
}

// Close closes the connection of a server that is not running. Run does it
// itself.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.ended)
	for _, m := range s.early {
		m.Close()
	}
	s.early = nil
	return s.conn.Close()
}

// Emit queues a broadcast signal and never blocks. Signals and replies leave
// in the order in which they were queued.
func (s *Server) Emit(path dbus.ObjectPath, iface, member string, args ...any) {
	e := s.encoders.Get().(*wire.Encoder)
	defer s.encoders.Put(e)
	e.Reset()
	signature, err := encodeAll(e, args)
	if err != nil {
		wire.CloseAll(e.FDs())
		s.cfg.Log.Error("a signal cannot be sent", "path", path, "interface", iface, "member", member, "error", err)
		return
	}
	s.conn.Send(&wire.Header{
		Type: wire.TypeSignal, Flags: wire.NoReplyExpected,
		Path: path, Interface: iface, Member: member, Signature: signature,
	}, e.Bytes(), e.FDs())
}

func encodeAll(e *wire.Encoder, args []any) (signature string, err error) {
	for _, arg := range args {
		if arg == nil {
			return "", errors.New("an argument is nil")
		}
		c, err := wire.CodecOf(reflect.TypeOf(arg))
		if err != nil {
			return "", err
		}
		c.Encode(e, reflect.ValueOf(arg))
		signature += c.Signature()
	}
	return signature, e.Err()
}
