package proc_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
)

// startWatcher runs a Watcher until the test's end.
func startWatcher(t *testing.T) *proc.Watcher {
	t.Helper()
	w, err := proc.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, ran); err != nil {
			t.Error(err)
		}
	})
	return w
}

// awaitEnd returns when p has ended.
func awaitEnd(t *testing.T, p *proc.PIDFD) {
	t.Helper()
	ended := make(chan error, 1)
	if err := startWatcher(t).Watch(p, func() { ended <- nil }); err != nil {
		t.Fatal(err)
	}
	receive(t, ended)
}

func TestTheEndOfEachProcessIsToldOnce(t *testing.T) {
	t.Parallel()
	const processes = 100 // more than are read at once
	w := startWatcher(t)
	var told [processes]atomic.Int32
	ended := make(chan error, 2*processes)
	for i := range processes {
		cmd := child(t)
		p := open(t, cmd.Process.Pid)
		if i%2 == 0 {
			end(cmd) // it ends before somebody looks
		}
		if err := w.Watch(p, func() { told[i].Add(1); ended <- nil }); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			end(cmd)
		}
	}
	for range processes {
		receive(t, ended)
	}
	for i := range told {
		if n := told[i].Load(); n != 1 {
			t.Errorf("the end of process %d was told %d times", i, n)
		}
	}
}

func TestWhatIsForgottenIsNotTold(t *testing.T) {
	t.Parallel()
	w := startWatcher(t)
	tell := func() { t.Error("the end of what was forgotten is told") }
	forgotten, closed, duplicated := child(t), child(t), child(t)
	p := open(t, forgotten.Process.Pid)
	if err := w.Watch(p, tell); err != nil {
		t.Fatal(err)
	}
	w.Forget(p)
	w.Forget(p)

	q := open(t, closed.Process.Pid)
	if err := w.Watch(q, tell); err != nil {
		t.Fatal(err)
	}
	q.Close()
	w.Forget(q)

	// The kernel goes on to watch what a duplicate keeps open.
	r := open(t, duplicated.Process.Pid)
	if err := w.Watch(r, tell); err != nil {
		t.Fatal(err)
	}
	dup, err := r.Dup()
	if err != nil {
		t.Fatal(err)
	}
	defer dup.Close()
	r.Close()
	w.Forget(r)

	for _, cmd := range []*exec.Cmd{forgotten, closed, duplicated} {
		end(cmd)
	}
	// They would have been told before this one.
	last := child(t)
	ended := make(chan error, 1)
	if err := w.Watch(open(t, last.Process.Pid), func() { ended <- nil }); err != nil {
		t.Fatal(err)
	}
	end(last)
	receive(t, ended)
}

func TestNoClosedProcessIsWatched(t *testing.T) {
	t.Parallel()
	w := startWatcher(t)
	p := open(t, child(t).Process.Pid)
	p.Close()
	if err := w.Watch(p, func() { t.Error("it is told") }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}
