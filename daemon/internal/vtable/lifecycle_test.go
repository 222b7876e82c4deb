package vtable_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestRunEndsWithItsContextAndAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	for range 20 {
		p.Send(method("Block"), nil, nil)
	}
	p.send(method("Nothing"), nil)
	p.receive()
	eventually(t, "slow calls run", func() bool { return s.blocked.Load() == 16 })
	start := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > patience/2 {
		t.Errorf("it took %v", d)
	}
	if n := s.ended.Load(); n < 16 {
		t.Errorf("the context of %d calls ended", n)
	}
	for range 16 {
		if m := p.receive(); m.ErrorName != errorNS+"NoReply" {
			t.Errorf("got %q", m.ErrorName)
		}
	}
	s.server.Emit(rootPath, worldName, "Counted", uint32(1)) // must not block
}

func TestALostConnectionEndsRun(t *testing.T) {
	t.Parallel()
	s := serve(t)
	done := make(chan error, 1)
	go func() {
		p := s.peer(t)
		p.send(method("Block"), nil)
		eventually(t, "a slow call runs", func() bool { return s.blocked.Load() == 1 })
		s.bus.Stop()
		eventually(t, "its context ends", func() bool { return s.ended.Load() == 1 })
		done <- s.stop()
	}()
	if err := <-done; !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("got %v", err)
	}
}

func TestANameThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	owner := b.Dial()
	if _, err := owner.RequestName(busName, 0); err != nil {
		t.Fatal(err)
	}
	dial := func() *vtable.Server {
		server, err := vtable.Dial(t.Context(), b.Address, config(newWorld(), slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return server
	}
	for _, tt := range []struct {
		name  string
		flags uint32
		want  string
	}{
		{busName, 4, "another program owns it"},
		{busName, 0, "queue"},
		{"no name", 4, "InvalidArgs"},
		{"\xff", 4, "UTF-8"},
	} {
		err := dial().RequestName(t.Context(), tt.name, tt.flags)
		if err == nil {
			t.Errorf("%q: no error", tt.name)
			continue
		}
		var remote *machine1.RemoteError
		text := err.Error()
		if errors.As(err, &remote) {
			text += remote.Name
		}
		if !strings.Contains(text, tt.name) || !strings.Contains(text, tt.want) {
			t.Errorf("%q: got %v", tt.name, err)
		}
	}
	twice := dial()
	if err := twice.RequestName(t.Context(), busName+"2", 4); err != nil {
		t.Fatal(err)
	}
	if err := twice.RequestName(t.Context(), busName+"2", 4); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v", err)
	}
}

func TestANameCanBeRequestedWhileRunning(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if err := s.server.RequestName(t.Context(), "org.example.Second", 4); err != nil {
		t.Error(err)
	}
	if err := s.server.RequestName(t.Context(), "org.example.Second", 4); err == nil {
		t.Error("it was requested twice")
	}
	s.stop()
	if err := s.server.RequestName(t.Context(), "org.example.Third", 4); !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("got %v after the end", err)
	}
}

func TestALostNameEndsRun(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	server, err := vtable.Dial(t.Context(), b.Address, config(newWorld(), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.RequestName(t.Context(), busName, uint32(dbus.NameFlagAllowReplacement)); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- server.Run(t.Context()) }()
	if _, err := b.Dial().RequestName(busName, dbus.NameFlagReplaceExisting); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err == nil || !strings.Contains(err.Error(), busName) {
		t.Errorf("got %v", err)
	}
}

func TestCallsBeforeRunWaitForIt(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	w := newWorld()
	server, err := vtable.Dial(t.Context(), b.Address, config(w, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := wire.Dial(t.Context(), b.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &peer{conn, t}
	const calls = 300 // more than are kept
	for i := range uint32(calls) {
		h, body := with(t, method("Count"), i)
		h.Destination = server.UniqueName()
		p.Send(h, body, nil)
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	busCall(p, "GetId", "", nil) // the bus has passed them on by now
	for _, name := range []string{busName, busName + "2"} {
		if err := server.RequestName(t.Context(), name, 4); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	refused := 0
	for range calls {
		if m := p.receive(); m.ErrorName == errorNS+"LimitsExceeded" {
			refused++
		}
	}
	if refused != calls-256 {
		t.Errorf("%d were refused", refused)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestRequestNameEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	server, err := vtable.Dial(t.Context(), b.Address, config(newWorld(), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.RequestName(ctx, busName, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestASignalThatCannotBeSentIsLogged(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, arg := range []any{"\xff", nil, 1, []any{}, dbus.ObjectPath("x")} {
		s.server.Emit(rootPath, worldName, "Counted", arg)
	}
	if n := strings.Count(s.log.String(), "a signal cannot be sent"); n != 5 {
		t.Errorf("%d were logged:\n%s", n, s.log)
	}
	if m := s.peer(t).call(method("Nothing"), nil); m.Type != wire.TypeReply {
		t.Error(m.ErrorName)
	}
}
