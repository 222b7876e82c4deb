package launch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
)

// A script that counts in a file how often it is asked to halt, once it listens.
const halts = `trap 'echo asked >> "$0"' 37; trap : 38; echo listens >> "$0"; while :; do sleep 0.01; done`

func TestBootingSystemIsAskedAgainToHalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "log")
	w.registerRunning(t, name, "sh", "-c", halts, log)
	lines := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			content, _ := os.ReadFile(log)
			if got := len(string(content)); got >= len("listens\n")+n*len("asked\n") {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("it was asked less than %d times:\n%s", n, content)
			}
		}
	}
	lines(0)
	changed := func(state string) {
		w.pid1.set(itsUnit, unit.Run{State: state})
		w.unitIs(state)
	}
	changed("active")
	time.Sleep(2 * insistEvery)
	if content, _ := os.ReadFile(log); string(content) != "listens\n" {
		t.Errorf("it was asked although its unit runs:\n%s", content)
	}
	changed("deactivating")
	lines(2)
	w.pid1.set(itsUnit, unit.Run{State: "inactive"})
}

// unitIs tells of the unit's state what PID 1 would.
func (w *world) unitIs(state string) {
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: itsUnit, Change: unit.Change{State: state}})
}

// A machine that comes while its unit is being stopped was not asked either.
func TestMachineThatComesTooLateIsAskedToHalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "log")
	w.pid1.set(itsUnit, unit.Run{State: "deactivating"})
	w.registerRunning(t, name, "sh", "-c", halts, log)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		content, _ := os.ReadFile(log)
		if string(content) == "listens\nasked\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it was not asked:\n%s", content)
		}
	}
	w.pid1.set(itsUnit, unit.Run{State: "inactive"})
}

// The next machine of the unit is not the one that was being stopped.
func TestNextMachineIsNotAskedToHalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "log")
	w.register(t, name)
	w.pid1.set(itsUnit, unit.Run{State: "deactivating"})
	w.unitIs("deactivating")
	time.Sleep(insistEvery / 4)
	if err := w.machines.Unregister(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	w.pid1.set(itsUnit, unit.Run{State: "activating"})
	w.registerRunning(t, name, "sh", "-c", halts, log)
	time.Sleep(3 * insistEvery)
	if content, _ := os.ReadFile(log); string(content) != "listens\n" {
		t.Errorf("it was asked:\n%s", content)
	}
}

// Whoever does not take the signals for what they are is not sent any.
func TestOtherInitsAreNotAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(t, name)
	w.pid1.set(itsUnit, unit.Run{State: "deactivating"})
	w.unitIs("deactivating")
	time.Sleep(3 * insistEvery)
	m, ok := w.machines.View().Get(name)
	if !ok || !m.Leader.Alive() {
		t.Error("it was ended")
	}
}
