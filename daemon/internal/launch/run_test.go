package launch

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
)

// threeStreams are for a command's standard streams.
func threeStreams(t *testing.T) []*os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return []*os.File{f, f, f}
}

// A start has told PID 1 by number which files there are: somebody else's must
// not get these numbers before PID 1 has them.
func TestStartKeepsItsFilesWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	planning, left := make(chan struct{}), make(chan struct{})
	w.pid1.onPlan = sync.OnceFunc(func() {
		close(planning)
		<-left
	})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := w.StartRun(ctx, name, machd.RunOptions{}, threeStreams(t))
		done <- err
	}()
	<-planning
	s := w.underWay(t, name)
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller is told %v", err)
	}
	files := append(slices.Clone(s.holder.stdio), s.holder.ours)
	for _, f := range files {
		if descriptorOf(f) < 0 {
			t.Errorf("%s is closed, and the start goes on", f.Name())
		}
	}
	if fd := descriptorOf(s.holder.ours); fd >= 0 && !hungUp(uintptr(fd), false) {
		t.Error("the machine is still held by somebody")
	}
	close(left)
	<-s.ended
	w.stop()
	for _, f := range files {
		if descriptorOf(f) >= 0 {
			t.Errorf("%s is open still", f.Name())
		}
	}
}

// A machine whose caller cannot be seen any more would run for ever.
func TestEndOfACallerWhoIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	h, err := w.newHolder(t.Context(), threeStreams(t), false)
	if err != nil {
		t.Fatal(err)
	}
	defer h.handed.Close()
	defer h.close()
	s := newStart(w.Launcher, name, machd.StartOptions{})
	s.holder, s.plan = h, planned(name)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	s.endWithCaller(over)
	if got := w.took(); len(got) > 0 {
		t.Errorf("after its end PID 1 was asked %q", got)
	}
	h.ours.Close()
	s.endWithCaller(within(t))
	if got := w.took(); !slices.Equal(got, []string{"stop " + itsUnit}) {
		t.Errorf("PID 1 was asked %q", got)
	}
}
