package unit_test

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// onRealPID1 returns a running Manager of the host's own PID 1.
func onRealPID1(t *testing.T) *listener {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root on a booted systemd")
	}
	conn, err := bus.Dial(t.Context(), bus.SystemAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m, err := unit.Connect(t.Context(), conn, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Manager: m, t: t, events: make(chan unit.Event, 100_000), ended: make(chan error, 1)}
	m.Watch(func(e unit.Event) { l.events <- e })
	return l.start()
}

// startScope moves a new process into a scope and returns it.
func startScope(t *testing.T, l *listener, name string) *proc.PIDFD {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })

	var job dbus.ObjectPath
	if err := p.WithFD(func(fd int) (err error) {
		job, err = l.StartTransient(t.Context(), name, "fail", []machine1.Property{
			{Name: "Slice", Value: dbus.MakeVariant("machine.slice")},
			{Name: "PIDFDs", Value: dbus.MakeVariant([]dbus.UnixFD{dbus.UnixFD(fd)})},
			{Name: "CollectMode", Value: dbus.MakeVariant("inactive-or-failed")},
			{Name: "AddRef", Value: dbus.MakeVariant(true)},
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if result, err := l.WaitJob(t.Context(), job); result != "done" || err != nil {
		t.Fatalf("the job ended with %q, %v", result, err)
	}
	if exists, err := l.JobExists(t.Context(), job); exists || err != nil {
		t.Errorf("JobExists of a job that is over = %v, %v", exists, err)
	}
	return p
}

func (l *listener) await(kind unit.EventKind, name string) {
	l.t.Helper()
	for {
		if e := l.next(); e.Kind == kind && e.Unit == name {
			return
		}
	}
}

// endScope ends what startScope has started.
func endScope(t *testing.T, l *listener, name string, p *proc.PIDFD) {
	t.Helper()
	if err := l.Kill(t.Context(), name, "all", 9); err != nil {
		t.Fatal(err)
	}
	for p.Alive() {
		time.Sleep(time.Millisecond)
	}
	l.await(unit.UnitChanged, name)
	if err := l.Unref(t.Context(), name); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		t.Error(err)
	}
	l.await(unit.UnitRemoved, name)
	if state, err := l.ActiveState(t.Context(), name); !errors.Is(err, machine1.ErrNoSuchUnit) {
		t.Errorf("ActiveState of what was removed = %q, %v", state, err)
	}
}

func TestAScopeOfTheRealPID1(t *testing.T) {
	l := onRealPID1(t)
	const name = `machine-unit\x2dtest.scope`
	p := startScope(t, l, name)
	cgroup, err := p.Cgroup()
	if err != nil || !strings.HasPrefix(cgroup, "/machine.slice/") {
		t.Errorf("the process is in %q, %v", cgroup, err)
	}
	if owner, subgroup, err := proc.UnitOf(cgroup); owner != name || subgroup != "" || err != nil {
		t.Errorf("UnitOf(%q) = %q, %q, %v", cgroup, owner, subgroup, err)
	}
	if state, err := l.ActiveState(t.Context(), name); state != "active" || err != nil {
		t.Errorf("ActiveState = %q, %v, want active", state, err)
	}
	if _, err := l.StartTransient(t.Context(), name, "fail", nil); !errors.Is(err, machine1.ErrUnitExists) {
		t.Errorf("a second scope of the name: %v", err)
	}
	endScope(t, l, name, p)
	if _, err := l.Stop(t.Context(), name, "fail"); !errors.Is(err, machine1.ErrNoSuchUnit) {
		t.Errorf("stopping what is gone: %v", err)
	}
}

func TestTheRealPID1IsFollowed(t *testing.T) {
	l := onRealPID1(t)
	const name = `machine-follow\x2dtest.scope`
	p := startScope(t, l, name)
	for _, verb := range []string{"daemon-reload", "daemon-reexec"} {
		if out, err := exec.Command("systemctl", verb).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", verb, err, out)
		}
		for {
			e := l.next()
			if e.Kind == unit.UnitRemoved && e.Unit == name {
				t.Errorf("%s: a living unit was called removed", verb)
			}
			if e.Kind == unit.Reloaded {
				break
			}
		}
		if state, err := l.ActiveState(t.Context(), name); state != "active" || err != nil {
			t.Errorf("ActiveState after %s = %q, %v, want active", verb, state, err)
		}
	}
	endScope(t, l, name, p)
}
