package launch

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A unit that is over but that somebody holds still has its name.
func TestStartWaitsUntilNobodyHoldsItsPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := transientUnit(name)
	w.pid1.set(own, unit.Run{State: "inactive"})
	s := newStart(w.Launcher, name, machd.StartOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.clear(ctx); !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("while it is held: %v", err)
	}
	w.pid1.forget(own)
	w.UnitEvent(unit.Event{Kind: unit.UnitRemoved, Unit: own})
	if err := s.clear(within(t)); err != nil {
		t.Error(err)
	}
}
