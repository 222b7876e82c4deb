package session_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/session"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// A command is one that does as the test says.
type command struct {
	outcome chan machd.Outcome
	signals chan int
	stopped atomic.Int32
	closed  atomic.Int32
	deaf    bool // does not end when it is stopped
}

func newCommand() *command {
	return &command{outcome: make(chan machd.Outcome, 1), signals: make(chan int, 10)}
}

func (c *command) Unit() string { return "unit" }

func (c *command) Wait(ctx context.Context) machd.Outcome {
	select {
	case o := <-c.outcome:
		return o
	case <-ctx.Done():
		return machd.Outcome{Failure: machd.FailureLost}
	}
}

func (c *command) Signal(_ context.Context, signal int) error {
	c.signals <- signal
	return nil
}

func (c *command) Stop(context.Context) error {
	c.stopped.Add(1)
	if !c.deaf {
		c.exits(0)
	}
	return nil
}

func (c *command) Close() error {
	c.closed.Add(1)
	return nil
}

func (c *command) exits(status int) { c.outcome <- machd.Outcome{Exit: &status} }

// serve serves c and returns the caller's end, and what Serve returns.
func serve(t *testing.T, ctx context.Context, c *command) (caller *net.UnixConn, ended <-chan bool) {
	t.Helper()
	ours, theirs, err := session.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conns := [2]*net.UnixConn{}
	for i, f := range []*os.File{ours, theirs} {
		if conns[i], err = socket.Conn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	t.Cleanup(func() { conns[1].Close() })
	done := make(chan bool, 1)
	go func() { done <- session.Serve(ctx, conns[0], c, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	return conns[1], done
}

func read(t *testing.T, from *net.UnixConn) machd.Outcome {
	t.Helper()
	from.SetReadDeadline(time.Now().Add(10 * time.Second))
	packet := make([]byte, machd.MaxPacket)
	n, err := from.Read(packet)
	if err != nil {
		t.Fatal(err)
	}
	o, err := machd.ParseOutcome(packet[:n])
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTheOutcomeGoesToTheCaller(t *testing.T) {
	t.Parallel()
	c := newCommand()
	caller, ended := serve(t, t.Context(), c)
	c.exits(7)
	if o := read(t, caller); o.Exit == nil || *o.Exit != 7 {
		t.Errorf("got %+v", o)
	}
	if !<-ended || c.stopped.Load() != 0 || c.closed.Load() != 1 {
		t.Errorf("the command was stopped %d times, closed %d times", c.stopped.Load(), c.closed.Load())
	}
	if _, err := caller.Read(make([]byte, 1)); err == nil {
		t.Error("the socket is open after the outcome")
	}
}

func TestOrdersArePassedOnAndNonsenseIsNot(t *testing.T) {
	t.Parallel()
	c := newCommand()
	caller, ended := serve(t, t.Context(), c)
	for _, packet := range []string{`{"signal":2}`, `{"signal":0}`, `nonsense`, `{"signal":65}`, `{"signal":15}`} {
		if _, err := caller.Write([]byte(packet)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 15} {
		if got := <-c.signals; got != want {
			t.Errorf("the command gets signal %d, want %d", got, want)
		}
	}
	c.exits(0)
	read(t, caller)
	<-ended
}

func TestACommandEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	c := newCommand()
	caller, ended := serve(t, t.Context(), c)
	caller.Close()
	if !<-ended || c.stopped.Load() != 1 {
		t.Errorf("the command was stopped %d times", c.stopped.Load())
	}
}

func TestACommandEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := newCommand()
	caller, ended := serve(t, ctx, c)
	cancel()
	if o := read(t, caller); o.Failure != machd.FailureLost || o.Message == "" {
		t.Errorf("got %+v", o)
	}
	if !<-ended || c.stopped.Load() != 1 {
		t.Errorf("the command was stopped %d times", c.stopped.Load())
	}
}

// What we have lost sight of may still run.
func TestALostCommandIsStopped(t *testing.T) {
	t.Parallel()
	c := newCommand()
	caller, ended := serve(t, t.Context(), c)
	c.outcome <- machd.Outcome{Failure: machd.FailureLost, Message: "lost"}
	if o := read(t, caller); o.Failure != machd.FailureLost {
		t.Errorf("got %+v", o)
	}
	<-ended
	if c.stopped.Load() != 1 {
		t.Errorf("the command was stopped %d times", c.stopped.Load())
	}
}

func TestWhoDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := newCommand()
	c.deaf = true
	_, ended := serve(t, ctx, c)
	start := time.Now()
	cancel()
	if <-ended {
		t.Error("it is said to have ended")
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	l := session.NewLimits()
	admit := func(user uint32) (func(), error) { return l.Admit(user) }
	var releases []func()
	for {
		release, err := admit(1000)
		if err != nil {
			if !errors.Is(err, machine1.ErrLimitsExceeded) {
				t.Errorf("got %v", err)
			}
			break
		}
		if releases = append(releases, release); len(releases) > 1000 {
			t.Fatal("a user may run any number")
		}
	}
	for _, other := range []uint32{0, 1001} {
		release, err := admit(other)
		if err != nil {
			t.Errorf("user %d is kept out by another: %v", other, err)
			continue
		}
		release()
	}
	releases[0]()
	releases[0]() // counts once
	if release, err := admit(1000); err != nil {
		t.Errorf("one has ended, and still: %v", err)
	} else {
		release()
	}
	if _, busy := l.Pulse(); !busy {
		t.Error("it is idle")
	}
	for _, release := range releases {
		release()
	}
	if _, busy := l.Pulse(); busy {
		t.Error("it is busy")
	}
	l.Close()
	if _, err := admit(0); !errors.Is(err, machine1.ErrEnding) || machine1.ErrorName(err) != "org.machd.Error.Ending" {
		t.Errorf("after the end: %v", err)
	}
	l.Wait()
}
