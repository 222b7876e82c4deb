package launch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A machine is killed before its unit is told to stop, by which what runs it
// would ask the init; what runs it is not killed while it cleans up.
func TestTerminateAsksNoInit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "log")
	w.registerRunning(t, name, "sh", "-c", "trap '' INT TERM HUP USR1 USR2; "+halts, log)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if content, _ := os.ReadFile(log); string(content) == "listens\n" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it does not listen: %s", content)
		}
	}
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	m, _ := w.machines.View().Get(name)
	leader, err := proc.Open(m.Leader.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	w.endUpon(t, "stop "+itsUnit)
	how, err := w.Terminate(t.Context(), m, machd.TerminateOptions{Timeout: time.Hour})
	if err != nil || how != machd.StopUnit {
		t.Errorf("it ended by %q, %v", how, err)
	}
	if leader.Alive() {
		t.Error("its leader lives")
	}
	if content, _ := os.ReadFile(log); string(content) != "listens\n" {
		t.Errorf("its init was asked:\n%s", content)
	}
	if asked := w.took(); asked[0] != "stop "+itsUnit || slices.Contains(asked, "kill "+itsUnit+" 9") {
		t.Errorf("PID 1 was asked to %q", asked)
	}
	if how, err := w.Terminate(t.Context(), m, machd.TerminateOptions{}); err != nil || how != machd.StopGone {
		t.Errorf("the next one ended it by %q, %v", how, err)
	}
}

// What does not end after its leader is killed as well.
func TestTerminateKillsWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(t, name)
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	m, _ := w.machines.View().Get(name)
	w.endUpon(t, "kill "+itsUnit+" 9")
	how, err := w.Terminate(t.Context(), m, machd.TerminateOptions{Timeout: 200 * time.Millisecond})
	if err != nil || how != machd.StopKill {
		t.Errorf("it ended by %q, %v", how, err)
	}
}

func TestTerminateOfWhatIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.TerminateUnregistered(t.Context(), "m", machd.TerminateOptions{}); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("nothing: %v", err)
	}
	w.pid1.set("machine-m.service", unit.Run{State: "activating"})
	how, err := w.TerminateUnregistered(t.Context(), "m", machd.TerminateOptions{})
	if err != nil || how != machd.StopUnit {
		t.Errorf("one that is starting ended by %q, %v", how, err)
	}
	if asked := w.took(); !slices.Contains(asked, "stop machine-m.service") {
		t.Errorf("PID 1 was asked to %q", asked)
	}
	w.pid1.set("kept.service", unit.Run{State: "active"})
	kept := machine.Machine{Name: "m", Unit: "kept.service"}
	if _, err := w.Terminate(t.Context(), kept, machd.TerminateOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a protected one: %v", err)
	}
}
