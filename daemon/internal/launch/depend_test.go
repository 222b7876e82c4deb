package launch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
)

// What others depend on is stopped when its machine has ended, and not before it
// is clear that it will not come back.
func TestDependedUnitIsStopped(t *testing.T) {
	t.Parallel()
	const depended = "machine@" + name + ".service"
	for _, c := range []struct {
		what    string
		unit    string // the state of machine@.service
		carrier string // the state of the machine's service, "" if there is none
		back    bool   // the machine is listed again
		stopped bool
	}{
		{"it ended", "active", "", false, true},
		{"its service has ended", "active", "inactive", false, true},
		{"its service failed", "active", "failed", false, true},
		{"its service starts again", "active", "activating", false, false},
		{"its service is not through", "active", "deactivating", false, false},
		{"it is back", "active", "active", true, false},
		{"nobody depends on it", "inactive", "", false, false},
		{"it is being started", "activating", "", false, false},
	} {
		w := newWorld(t)
		w.pid1.set(depended, unit.Run{State: c.unit})
		if c.carrier != "" {
			w.pid1.set("machine-"+name+".service", unit.Run{State: c.carrier})
		}
		w.register(t, name)
		if err := w.machines.Unregister(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if c.back {
			w.register(t, name)
		}
		stopped := func() bool { return slices.Contains(w.took(), "stop "+depended) }
		if !c.stopped {
			time.Sleep(100 * time.Millisecond)
			if stopped() {
				t.Errorf("%s: it was stopped", c.what)
			}
			continue
		}
		for deadline := time.Now().Add(patience); !stopped(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it was not stopped", c.what)
			}
		}
	}
}

// Something else that PID 1 is doing with it puts that off only.
func TestDependedUnitIsStoppedAtLast(t *testing.T) {
	t.Parallel()
	const depended = "machine@" + name + ".service"
	for what, first := range map[string]unit.Run{
		"it has a job":           {State: "active", HasJob: true},
		"it is not quite up yet": {State: "activating"},
		"PID 1 refuses at first": {State: "active"},
	} {
		w := newWorld(t)
		w.pid1.set(depended, first)
		w.register(t, name)
		w.pid1.mu.Lock()
		w.pid1.trouble = []error{errors.New("a job is in the way")} // of the first stop
		w.pid1.mu.Unlock()
		if err := w.machines.Unregister(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		w.pid1.set(depended, unit.Run{State: "active"})
		for deadline := time.Now().Add(patience); !slices.Contains(w.took(), "stop "+depended); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it was not stopped", what)
			}
		}
	}
}
