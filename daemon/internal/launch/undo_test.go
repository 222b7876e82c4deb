package launch

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// reexecute has PID 1 seem to come back again and again.
func (w *world) reexecute(t *testing.T) {
	go func() {
		for t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
			w.UnitEvent(unit.Event{Kind: unit.Reloaded})
		}
	}()
}

// What waits for its turn to start is not running, and would.
func TestStartThatIsQueuedIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.set(itsUnit, unit.Run{State: "inactive", HasJob: true})
	if err := w.endUnit(within(t), name, itsUnit, true); err != nil {
		t.Error(err)
	}
	if got := w.took(); !slices.Equal(got, []string{"stop " + itsUnit}) {
		t.Errorf("PID 1 was asked %q", got)
	}
}

// While PID 1 executes itself anew, what it is asked gets no answer.
func TestQuestionWithoutAnAnswerSaysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.set(itsUnit, unit.Run{State: "inactive"})
	w.pid1.trouble = []error{machine1.ErrNoReply, machine1.ErrServiceUnknown}
	w.reexecute(t)
	if over, err := w.awaitOver(within(t), itsUnit, math.MaxInt64); !over || err != nil {
		t.Errorf("got %t, %v", over, err)
	}
	w.pid1.trouble = []error{machine1.ErrNoReply}
	if over, err := w.awaitOver(within(t), itsUnit, 0); over || !errors.Is(err, machine1.ErrNoReply) {
		t.Errorf("asked once: %t, %v", over, err)
	}
	w.pid1.trouble = []error{machine1.ErrDisconnected}
	if over, err := w.awaitOver(within(t), itsUnit, math.MaxInt64); over || !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("cut off: %t, %v", over, err)
	}
}

func TestUnitIsStoppedOncePID1Hears(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	w.pid1.trouble = []error{machine1.ErrNoReply, machine1.ErrNoReply, machine1.ErrServiceUnknown}
	w.reexecute(t)
	if err := w.stopUnit(within(t), itsUnit); err != nil {
		t.Error(err)
	}
	if got := w.took(); !slices.Equal(got, []string{"stop " + itsUnit}) {
		t.Errorf("PID 1 was asked %q", got)
	}
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	refused := errors.New("refused")
	w.pid1.trouble = []error{machine1.ErrNoReply, refused}
	if err := w.stopUnit(within(t), itsUnit); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

// A machine is held by its caller, and its unit by us, until it has ended.
func TestMachineIsKeptWhilePID1IsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.set(itsUnit, unit.Run{State: "active", Result: "success"})
	h, err := w.newHolder(t.Context(), threeStreams(t), false)
	if err != nil {
		t.Fatal(err)
	}
	s := newStart(w.Launcher, name, machd.StartOptions{})
	s.holder, s.plan, s.held = h, planned(name), true
	close(s.queued)
	close(s.registered)
	close(s.ended)
	w.pid1.trouble = []error{machine1.ErrNoReply}
	w.reexecute(t)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		h.keep(within(t), s)
	}()
	h.handed.Close() // the caller leaves
	<-kept
	if got := w.took(); !slices.Equal(got, []string{"stop " + itsUnit, "let go of " + itsUnit}) {
		t.Errorf("PID 1 was asked %q", got)
	}
}
