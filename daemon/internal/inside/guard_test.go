package inside_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

// impatience is long enough for a machine that answers, on a busy host.
const impatience = time.Second

// Not parallel: it counts descriptors.
func TestAFileSystemThatHangsCostsOneCaller(t *testing.T) {
	m, other := startMachine(t, bare, false), startMachine(t, bare, false)
	other.do(t, order{Do: "write", Path: "/etc/os-release", Text: osRelease})
	m.do(t, order{Do: "write", Path: "/usr/lib/os-release", Text: osRelease})
	m.do(t, order{Do: "hang", Path: "/etc"})
	g := inside.NewImpatientGuard(slog.New(slog.NewTextHandler(t.Output(), nil)), impatience)
	before := descriptors(t)

	_, err := g.OSRelease(t.Context(), m.leader)
	if !errors.Is(err, machine1.ErrTimeout) {
		t.Fatalf("first caller: got %v, want a time-out", err)
	}
	during := descriptors(t)
	start := time.Now()
	for range 50 {
		_, err := g.OSRelease(t.Context(), m.leader)
		if !errors.Is(err, inside.ErrBusy) || !errors.Is(err, unix.EBUSY) {
			t.Fatalf("later caller: got %v, want busy", err)
		}
		_, err = g.StartLogin(t.Context(), m.leader, "m")
		if !errors.Is(err, inside.ErrBusy) {
			t.Fatalf("later login: got %v, want busy", err)
		}
	}
	if took := time.Since(start); took > 10*impatience {
		t.Errorf("100 later callers took %v; they must not wait", took)
	}
	if _, err := g.OSRelease(t.Context(), other.leader); err != nil {
		t.Errorf("another machine: %v", err)
	}
	if lookUps, machines := g.Going(); lookUps != 1 || machines != 1 {
		t.Errorf("%d look-ups go on in %d machines, want one in one", lookUps, machines)
	}
	if after := descriptors(t); after > during {
		t.Errorf("descriptors grew from %d to %d with busy callers", during, after)
	}

	m.kill() // ends the file system, and with it the look-up
	eventually(t, "the stuck look-up ends", func() bool {
		lookUps, machines := g.Going()
		return lookUps == 0 && machines == 0
	})
	// The two pipes to the dead machine are gone as well.
	eventually(t, "descriptors go back", func() bool { return descriptors(t) <= before })
}

// With a user namespace the kernel does not let the host's root in.
func TestAPrivateFileSystemIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	m.do(t, order{Do: "hang", Path: "/etc"})
	start := time.Now()
	_, err := newGuard(t).OSRelease(t.Context(), m.leader)
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v after %v, want access denied", err, time.Since(start))
	}
}

func TestCallersThatMeetAHangAllGetAnswers(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.do(t, order{Do: "hang", Path: "/etc"})
	g := inside.NewImpatientGuard(slog.New(slog.NewTextHandler(t.Output(), nil)), impatience)
	var callers sync.WaitGroup
	failures := make(chan error, 100)
	for range cap(failures) {
		callers.Go(func() {
			_, err := g.OSRelease(t.Context(), m.leader)
			failures <- err
		})
	}
	callers.Wait()
	close(failures)
	timeouts := 0
	for err := range failures {
		switch {
		case errors.Is(err, machine1.ErrTimeout):
			timeouts++
		case !errors.Is(err, inside.ErrBusy):
			t.Errorf("got %v, want a time-out or busy", err)
		}
	}
	if timeouts != 1 {
		t.Errorf("%d callers hung, want one", timeouts)
	}
}

func TestACallerWhoLeavesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.do(t, order{Do: "hang", Path: "/etc"})
	g := inside.NewImpatientGuard(slog.New(slog.NewTextHandler(t.Output(), nil)), time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	for range 3 {
		if _, err := g.OSRelease(ctx, m.leader); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestLookUpsInOneMachineAllSucceed(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	m.do(t, order{Do: "write", Path: "/etc/os-release", Text: osRelease})
	g := newGuard(t)
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			for range 20 {
				if _, err := g.OSRelease(t.Context(), m.leader); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if lookUps, machines := g.Going(); lookUps != 0 || machines != 0 {
		t.Errorf("%d look-ups left in %d machines", lookUps, machines)
	}
}

func TestManyMachinesThatHangAreBounded(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts 70 machines")
	}
	g := inside.NewImpatientGuard(slog.New(slog.DiscardHandler), impatience)
	var busy, hung int
	var machines []*fakeMachine
	for range 70 {
		m := startMachine(t, bare, false)
		m.do(t, order{Do: "hang", Path: "/etc"})
		machines = append(machines, m)
	}
	results := make(chan error)
	for _, m := range machines {
		go func() { _, err := g.OSRelease(t.Context(), m.leader); results <- err }()
	}
	for range machines {
		switch err := <-results; {
		case errors.Is(err, inside.ErrBusy):
			busy++
		case errors.Is(err, machine1.ErrTimeout):
			hung++
		default:
			t.Errorf("got %v", err)
		}
	}
	if hung != 64 || busy != 6 {
		t.Errorf("%d hung and %d were turned away, want 64 and 6", hung, busy)
	}
}
