package machine

import (
	"errors"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

func TestTerminateStopsTheUnit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	w.pid1.setState(service, "active")
	leader := start(t, service)
	w.register("a", leader)
	if err := w.Terminate(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	m := w.get("a")
	if m.State() != machine1.StateClosing || m.ScopeJob == "" {
		t.Errorf("state %s, job %q", m.State(), m.ScopeJob)
	}
	if saved, _ := stateDir(w.dir).load("a"); saved.ScopeJob != m.ScopeJob {
		t.Errorf("file has job %q", saved.ScopeJob)
	}
	if diff := cmp.Diff(w.pid1.called("stop"), []string{"stop " + service + " fail"}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	// The machine is listed until PID 1 is through with its unit.
	leader.kill()
	if err := w.CheckName(t.Context(), "a"); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("name while stopping: %v", err)
	}
	w.pid1.finish(m.ScopeJob, "done")
	w.UnitEvent(unit.Event{Kind: unit.JobRemoved, Unit: service, Job: m.ScopeJob, Result: "done"})
	w.wantEvent("-a")
}

func TestTerminateOfAUnitThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("a", start(t, newUnit(t)))
	if err := w.Terminate(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if m := w.get("a"); m.State() != machine1.StateClosing || m.ScopeJob != "" {
		t.Errorf("state %s, job %q", m.State(), m.ScopeJob)
	}
}

func TestTerminateBelowAUnit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t, "payload")
	supervisor := start(t, service)
	r := registrationOf("a", start(t, service+"/payload"))
	r.Supervisor = supervisor.open()
	if _, err := w.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := w.Terminate(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	var exit interface{ Sys() any }
	if err := supervisor.cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("supervisor: %v", err)
	}
	if got := w.pid1.called(""); got != nil || w.get("a").State() != machine1.StateClosing {
		t.Errorf("PID 1 was told %q", got)
	}

	if _, err := w.Register(t.Context(), registrationOf("b", start(t, service+"/payload"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Terminate(t.Context(), "b"); !errors.Is(err, machine1.ErrNotSupported) || w.get("b").Stopping {
		t.Errorf("without supervisor: %v", err)
	}
}

func TestTerminateAndKillRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register("a", start(t, newUnit(t)))
	calls := map[string]struct {
		err  error
		kind error
		text string
	}{
		"terminate an unknown machine": {w.Terminate(t.Context(), "x"), machine1.ErrNoSuchMachine, "No machine 'x' known"},
		"terminate the host":           {w.Terminate(t.Context(), ".host"), machine1.ErrNotSupported, ""},
		"kill an unknown machine":      {w.Kill(t.Context(), "x", "", 15), machine1.ErrNoSuchMachine, ""},
		"kill the host":                {w.Kill(t.Context(), ".host", "leader", 15), machine1.ErrNotSupported, ""},
		"kill whom":                    {w.Kill(t.Context(), "a", "us", 15), machine1.ErrInvalidArgs, "Invalid kill parameter 'us'"},
		"kill with no signal":          {w.Kill(t.Context(), "a", "", 0), machine1.ErrInvalidArgs, "Invalid signal 0"},
		"kill with signal 65":          {w.Kill(t.Context(), "a", "", 65), machine1.ErrInvalidArgs, "Invalid signal 65"},
		"kill no supervisor":           {w.Kill(t.Context(), "a", "supervisor", 15), syscall.ESRCH, ""},
	}
	for name, tt := range calls {
		if !errors.Is(tt.err, tt.kind) || tt.text != "" && tt.err.Error() != tt.text {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	w.pid1.setTrouble(nil)
	if got := w.pid1.called(""); got != nil {
		t.Errorf("PID 1 was told %q", got)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t, "payload")
	owner, below := start(t, service), start(t, service+"/payload")
	w.register("owner", owner)
	w.register("below", below)
	for _, whom := range []string{"", "all"} {
		if err := errors.Join(w.Kill(t.Context(), "owner", whom, 10), w.Kill(t.Context(), "below", whom, 64)); err != nil {
			t.Error(err)
		}
	}
	one, two := "kill "+service+" all 10", "kill "+service+" cgroup payload 64"
	if diff := cmp.Diff(w.pid1.called("kill"), []string{one, two, one, two}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	if err := w.Kill(t.Context(), "below", "leader", 9); err != nil {
		t.Error(err)
	}
	w.wantEvent("-below")
}

// TestTroubleCountsAsAlive keeps a machine until PID 1 says that its unit is
// gone, and comes back to it by itself.
func TestTroubleCountsAsAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	m := w.create("a", leader)
	w.pid1.setTrouble(remote("org.freedesktop.DBus.Error.NoReply"))
	leader.kill()
	w.pid1.wantCall(t, "state")
	w.wantNoEvent()
	w.get("a")
	w.pid1.setState(m.Unit, "")
	w.pid1.setTrouble(nil)
	w.wantEvent("-a")
}

// TestOneStuckMachine has PID 1 never answer about one unit.
func TestOneStuckMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.silent = make(chan struct{})
	stuck, other := start(t, ""), start(t, "")
	w.create("stuck", stuck)
	m := w.create("other", other)
	stuck.kill()
	w.pid1.setState(m.Unit, "inactive")
	other.kill()
	w.wantEvent("-other")
	close(w.pid1.silent)
}

// TestReload looks at every machine, since PID 1 was silent meanwhile.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	m := w.create("a", leader)
	leader.kill()
	w.pid1.wantCall(t, "state")
	w.pid1.setState(m.Unit, "")
	w.wantNoEvent()
	w.UnitEvent(unit.Event{Kind: unit.Reloaded})
	w.wantEvent("-a")
}

// A machine whose unit refuses to be stopped is not ended by another way,
// unless PID 1 does not tell.
func TestProtectedMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	w.pid1.setState(service, "active")
	w.register("a", start(t, service))
	w.pid1.mu.Lock()
	w.pid1.protected = map[string]bool{service: true}
	w.pid1.mu.Unlock()
	for what, err := range map[string]error{
		"Terminate":     w.Terminate(t.Context(), "a"),
		"Kill":          w.Kill(t.Context(), "a", "", 15),
		"Kill a leader": w.Kill(t.Context(), "a", "leader", 9),
	} {
		if !errors.Is(err, syscall.EBUSY) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := append(w.pid1.called("stop"), w.pid1.called("kill")...); len(got) > 0 {
		t.Errorf("PID 1 was asked to %q", got)
	}
	w.pid1.mu.Lock()
	w.pid1.trouble = errors.New("it reloads")
	w.pid1.mu.Unlock()
	if err := w.Kill(t.Context(), "a", "", 15); err != nil {
		t.Errorf("while PID 1 does not tell: %v", err)
	}
}
