package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

func unitIs(state string, job uint32) machine1test.Unit {
	return machine1test.Unit{Properties: map[string]any{"ActiveState": state, "Job": struct {
		ID   uint32
		Path string
	}{job, "/"}}}
}

// What stands for a machine that has ended is not started before it is down.
func TestQueueEnabledWaitsForTheEnd(t *testing.T) {
	t.Parallel()
	unit := client.DependedUnit("c8-ns")
	for what, u := range map[string]machine1test.Unit{"it is up": unitIs("active", 0), "it is going down": unitIs("deactivating", 7)} {
		w, c := connect(t)
		w.SetUnit(unit, u)
		started := func() bool {
			return slices.ContainsFunc(w.Calls(), func(call string) bool { return strings.HasPrefix(call, "StartUnit ") })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := c.QueueEnabled(ctx, "c8-ns"); !errors.Is(err, machine1.ErrTimeout) || started() {
			t.Errorf("%s: %v", what, err)
		}
		time.AfterFunc(200*time.Millisecond, func() { w.SetUnitState(unit, "inactive") })
		s, err := c.QueueEnabled(t.Context(), "c8-ns")
		if err != nil {
			t.Fatal(what, err)
		}
		s.Close()
		if !started() {
			t.Errorf("%s: it was not started", what)
		}
	}
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	w.SetUnit(unit, unitIs("active", 0))
	s, err := c.QueueEnabled(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
