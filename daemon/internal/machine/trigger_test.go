package machine

import (
	"path"
	"testing"

	"github.com/machd/machd/daemon/internal/unit"
)

// Everything that PID 1 tells of a machine's unit makes us look at the machine.
func TestWhatMakesUsLook(t *testing.T) {
	t.Parallel()
	triggers := map[string]func(m Machine) unit.Event{
		"its job has ended": func(m Machine) unit.Event {
			return unit.Event{Kind: unit.JobRemoved, Unit: m.Unit, Job: "/job/of/somebody", Result: "done"}
		},
		"its unit has changed": func(m Machine) unit.Event { return unit.Event{Kind: unit.UnitChanged, Unit: m.Unit} },
		"its unit has gone":    func(m Machine) unit.Event { return removed(m.Unit) },
		"PID 1 has reloaded":   func(Machine) unit.Event { return unit.Event{Kind: unit.Reloaded} },
	}
	for name, event := range triggers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			leader, other := start(t, ""), start(t, "")
			m := w.create("a", leader)
			w.create("b", other)
			leader.kill()
			w.pid1.wantCall(t, "state")
			w.pid1.setState(m.Unit, "inactive")
			// What is said of others is no reason.
			w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: "other.service"})
			w.wantNoEvent()
			w.UnitEvent(event(m))
			w.wantEvent("-a")
			w.wantNoEvent()
			w.get("b")
		})
	}
}

// The supervisor may leave before the machine does.
func TestSupervisorDies(t *testing.T) {
	t.Parallel()
	for name, subgroup := range map[string]string{"in a service": "", "in a subgroup": "payload"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			service := newUnit(t, "payload")
			leader, supervisor := start(t, path.Join(service, subgroup)), start(t, "")
			r := registrationOf("a", leader)
			r.Supervisor = supervisor.open()
			if _, err := w.Register(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			w.wantEvent("+a")
			supervisor.kill()
			w.wantNoEvent()
			w.get("a")
			leader.kill()
			w.wantEvent("-a")
		})
	}
}
