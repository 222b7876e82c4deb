package ptyfwd_test

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/machd/machd/client/internal/ptyfwd"
)

// startOver starts a session whose command ends when over is closed.
func startOver(t *testing.T, edit func(*ptyfwd.Options)) (s *session, over chan struct{}) {
	t.Helper()
	over = make(chan struct{})
	s = start(t, func(_ *session, o *ptyfwd.Options) {
		o.Over = over
		if edit != nil {
			edit(o)
		}
	})
	return s, over
}

func TestACommandThatHangsUpGoesOnUntilItIsOver(t *testing.T) {
	t.Parallel()
	s, over := startOver(t, nil)
	io.WriteString(s.machine.slave, "before")
	s.screen.await(t, "before")
	name := s.machine.slave.Name()
	s.machine.slave.Close()
	select {
	case got := <-s.result:
		t.Fatalf("a hang-up ended it: %+v", got)
	case <-time.After(200 * time.Millisecond):
	}
	again, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(again, "and after")
	again.Close()
	close(over)
	if got := s.wait(t); got.Ending != ptyfwd.HungUp {
		t.Errorf("got %+v, want HungUp", got)
	}
	s.screen.await(t, "and after")
}

// Whoever is left on the terminal does not keep the session, and what the
// command wrote is all shown.
func TestACommandThatIsOverEndsTheSessionThoughOthersHaveTheTerminal(t *testing.T) {
	t.Parallel()
	s, over := startOver(t, nil)
	io.WriteString(s.machine.slave, strings.Repeat("x", 50_000)+"last")
	close(over)
	if got := s.wait(t); got.Ending != ptyfwd.HungUp {
		t.Errorf("got %+v, want HungUp", got)
	}
	s.screen.await(t, "last")
}

func TestSignalsGoWhereTheyAreWanted(t *testing.T) {
	taken := make(chan os.Signal, 1)
	s, over := startOver(t, func(o *ptyfwd.Options) {
		o.Signal = func(s os.Signal) bool {
			taken <- s
			return s == syscall.SIGTERM
		}
	})
	io.WriteString(s.machine.slave, "there")
	s.screen.await(t, "there") // it forwards, so it listens to signals
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	if got := <-taken; got != syscall.SIGTERM {
		t.Errorf("took %v", got)
	}
	io.WriteString(s.machine.slave, "still")
	s.screen.await(t, "still")
	syscall.Kill(os.Getpid(), syscall.SIGQUIT)
	if got := s.wait(t); got.Ending != ptyfwd.Signalled || got.Signal != syscall.SIGQUIT {
		t.Errorf("got %+v, want SIGQUIT", got)
	}
	close(over)
}
