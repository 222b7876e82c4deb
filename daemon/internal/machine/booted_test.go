package machine

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// newBootedWorld has a Manager that talks to the PID 1 of this host.
func newBootedWorld(t *testing.T) *world {
	t.Helper()
	// t.Context ends before the clean-up that waits for Run.
	conn, err := bus.Dial(context.Background(), bus.SystemAddress())
	if err != nil {
		t.Skipf("needs a booted systemd: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	w := idleWorldIn(t, t.TempDir())
	units, err := unit.Connect(t.Context(), conn, w.log)
	if err != nil {
		t.Skipf("needs a booted systemd: %v", err)
	}
	w.units = units
	units.Watch(w.UnitEvent)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{units.Run, w.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return w
}

func loadState(t *testing.T, unit string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "-P", "LoadState", "--", unit).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// createForReal creates a machine with the properties that systemd-nspawn 257
// sends.
func (w *world) createForReal(name string, p *process) Machine {
	w.t.Helper()
	scope := []machine1.Property{property("DevicePolicy", "closed"), property("KillMode", "mixed")}
	m, err := w.Create(w.t.Context(), registrationOf(name, p), scope, true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wantEvent("+" + name)
	if group, err := m.Leader.Cgroup(); err != nil || group != "/machine.slice/"+m.Unit {
		w.t.Fatalf("leader is in %q, %v", group, err)
	}
	return m
}

func TestBootedReboot(t *testing.T) {
	t.Parallel()
	w := newBootedWorld(t)
	for range 30 {
		leader := start(t, "")
		w.createForReal("machd-test-reboot", leader)
		leader.kill()
		if err := w.Unregister(t.Context(), "machd-test-reboot"); err == nil {
			w.wantEvent("-machd-test-reboot")
			continue
		}
		w.wantEvent("-machd-test-reboot") // the leader's end was seen first
	}
}

func TestBootedLeaderDies(t *testing.T) {
	t.Parallel()
	w := newBootedWorld(t)
	for range 10 {
		leader := start(t, "")
		w.createForReal("machd-test-dies", leader)
		leader.kill()
		w.wantEvent("-machd-test-dies")
	}
}

func TestBootedTerminate(t *testing.T) {
	t.Parallel()
	w := newBootedWorld(t)
	leader := start(t, "")
	m := w.createForReal("machd-test-stop", leader)
	if err := w.Terminate(t.Context(), m.Name); err != nil {
		t.Fatal(err)
	}
	w.wantEvent("-machd-test-stop")
	if err := leader.cmd.Wait(); err == nil {
		t.Error("leader ended by itself")
	}
	w.createForReal(m.Name, start(t, ""))
	if err := w.Kill(t.Context(), m.Name, "all", 9); err != nil {
		t.Error(err)
	}
	w.wantEvent("-machd-test-stop")
	// The reference is given back by who collected it, maybe a moment later.
	w.createForReal(m.Name, start(t, ""))
}

// TestBootedScopeOutlivesItsLeader has a second process in the scope.
func TestBootedScopeOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	w := newBootedWorld(t)
	cmd := exec.Command("sh", "-c", "read line; sleep 600 & read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leader := &process{t, cmd}
	t.Cleanup(leader.kill)
	m := w.createForReal("machd-test-outlives", leader)
	// Both lines are read only once the sleep has been started in the scope.
	if _, err := in.Write([]byte("\n\n")); err != nil {
		t.Fatal(err)
	}
	for m.Leader.Alive() {
		time.Sleep(time.Millisecond)
	}
	if !w.check(t.Context(), m.Name) {
		t.Error("PID 1 does not answer")
	}
	w.wantNoEvent()
	if got := w.get(m.Name).State(); got != machine1.StateRunning {
		t.Errorf("state %s", got)
	}
	if err := w.Kill(t.Context(), m.Name, "", 15); err != nil {
		t.Error(err)
	}
	w.wantEvent("-" + m.Name)
	if err := w.CheckName(t.Context(), m.Name); err != nil {
		t.Error(err)
	}
}

// TestBootedFailure is refused by PID 1 with its own error.
func TestBootedFailure(t *testing.T) {
	t.Parallel()
	w := newBootedWorld(t)
	leader := start(t, "")
	_, err := w.Create(t.Context(), registrationOf("machd-test-fails", leader), []machine1.Property{property("NoSuchProperty", true)}, true)
	if name := machine1.ErrorName(err); name != "org.freedesktop.DBus.Error.PropertyReadOnly" || !leader.alive() {
		t.Errorf("got %s, %v", name, err)
	}
	w.wantNoEvent()
	if got := loadState(t, "machine-machd\\x2dtest\\x2dfails.scope"); got != "not-found" {
		t.Errorf("scope is %s", got)
	}
}

// TestBootedRestart adopts a scope that an earlier connection made.
func TestBootedRestart(t *testing.T) {
	t.Parallel()
	first := newBootedWorld(t)
	leader := start(t, "")
	before := first.createForReal("machd-test-restart", leader)
	second := newBootedWorld(t)
	second.registry.dir = first.registry.dir
	second.restore()
	got := second.wantEvent("+" + before.Name).Machine
	if got.Unit != before.Unit || got.Realtime != before.Realtime || !got.madeUnit() {
		t.Errorf("got %+v", got)
	}
	leader.kill()
	second.wantEvent("-" + before.Name)
	first.wantEvent("-" + before.Name)
}
