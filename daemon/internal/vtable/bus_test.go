package vtable_test

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

const (
	busName   = "org.example.Service"
	machineID = "0123456789abcdef0123456789abcdef"

	// patience is how long a test waits for what must happen.
	patience = 30 * time.Second
)

// A service is a world that is served on a bus.
type service struct {
	*world
	bus    *dbustest.Bus
	server *vtable.Server
	log    *syncBuffer
	stop   func() error // ends Run and returns its error
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func config(w *world, log *slog.Logger) vtable.Config {
	return vtable.Config{
		Tree:      w,
		Log:       log,
		ErrorName: machine1.ErrorName,
		MachineID: func() (string, error) { return machineID, nil },
	}
}

// serve serves a new world until the test ends.
func serve(t testing.TB) *service {
	t.Helper()
	s := &service{world: newWorld(), bus: dbustest.New(t), log: &syncBuffer{}}
	server, err := vtable.Dial(t.Context(), s.bus.Address, config(s.world, slog.New(slog.NewTextHandler(s.log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	s.server, s.world.server = server, server
	if err := server.RequestName(t.Context(), busName, 4); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ran
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// call makes a call with godbus and returns the results.
func (s *service) call(t testing.TB, conn *dbus.Conn, path dbus.ObjectPath, member string, in ...any) ([]any, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	call, err := bus.Go(ctx, conn, bus.Target{Name: busName, Path: path}, member, false, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Wait(ctx, call); err != nil {
		return nil, err
	}
	return call.Body, nil
}

// A peer is a client that sends whatever it likes.
type peer struct {
	*wire.Conn
	t testing.TB
}

func (s *service) peer(t testing.TB) *peer {
	t.Helper()
	conn, err := wire.Dial(t.Context(), s.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{conn, t}
}

func method(member string) *wire.Header {
	return &wire.Header{
		Type: wire.TypeCall, Destination: busName, Path: rootPath, Interface: worldName, Member: member,
	}
}

// send sends a message without waiting for an answer.
func (p *peer) send(h *wire.Header, body []byte, fds ...int) {
	p.t.Helper()
	p.Send(h, body, fds)
	if err := p.Flush(); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next reply, error or signal that is not the bus's.
func (p *peer) receive() *wire.Message {
	p.t.Helper()
	for {
		m, err := p.Read()
		if err != nil {
			p.t.Fatal(err)
		}
		if m.Sender != wire.BusName {
			return m
		}
	}
}

// call sends h and returns the answer to it.
func (p *peer) call(h *wire.Header, body []byte, fds ...int) *wire.Message {
	p.t.Helper()
	p.send(h, body, fds...)
	for {
		if m := p.receive(); m.ReplySerial == h.Serial {
			return m
		}
		p.t.Log("another message came")
	}
}

// marshal returns a body and its signature.
func marshal(t testing.TB, values ...any) (signature string, body []byte) {
	t.Helper()
	var e wire.Encoder
	for _, value := range values {
		c, err := wire.CodecOf(reflect.TypeOf(value))
		if err != nil {
			t.Fatal(err)
		}
		c.Encode(&e, reflect.ValueOf(value))
		signature += c.Signature()
	}
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	return signature, e.Bytes()
}

// with adds arguments to h.
func with(t testing.TB, h *wire.Header, values ...any) (*wire.Header, []byte) {
	t.Helper()
	signature, body := marshal(t, values...)
	h.Signature = signature
	return h, body
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// codecFor returns the codec of T and a T to decode into.
func codecFor[T any](t testing.TB) (*wire.Codec, reflect.Value) {
	t.Helper()
	c, err := wire.CodecOf(reflect.TypeFor[T]())
	if err != nil {
		t.Fatal(err)
	}
	return c, reflect.New(reflect.TypeFor[T]()).Elem()
}
