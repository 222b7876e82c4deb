package booted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/terminal"
)

// patience is how long anything may take here, on a slow machine too.
const patience = time.Minute

// run runs a command that must succeed and returns its output.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := attempt(t, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// attempt runs a command and returns what it printed, on both outputs.
func attempt(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	// Clean-ups run commands too, after the test's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

func openTerminal(t *testing.T, argv ...string) *terminal.Terminal {
	t.Helper()
	term, err := terminal.Open(func(text string) { t.Log(text) }, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// must stops the test at the first of the steps that failed.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A process is a service of this host that does nothing, to be registered.
type process struct {
	unit string
	pid  int
}

// startProcess starts one in machine.slice, where machines live.
func startProcess(t *testing.T, name string) process {
	t.Helper()
	p := process{unit: name + "-process.service"}
	run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit="+p.unit, "sleep", "infinity")
	t.Cleanup(func() { attempt(t, "systemctl", "stop", p.unit) })
	pid, err := strconv.Atoi(run(t, "systemctl", "show", "-P", "MainPID", p.unit))
	if err != nil || pid == 0 {
		t.Fatalf("%s has no process: %v", p.unit, err)
	}
	p.pid = pid
	return p
}

const guests = "/var/lib/machines"

// startGuest boots a copy of c8-ns as systemd-nspawn@NAME.service and returns
// when its systemd is up.
func startGuest(t *testing.T, name string) {
	t.Helper()
	settings := filepath.Join("/run/systemd/nspawn", name+".nspawn")
	must(t, os.MkdirAll(filepath.Dir(settings), 0o755))
	must(t, os.WriteFile(settings, []byte("[Exec]\nNotifyReady=yes\n"), 0o644))
	run(t, "cp", "-a", filepath.Join(guests, "c8-ns"), filepath.Join(guests, name))
	t.Cleanup(func() {
		attempt(t, "systemctl", "stop", "systemd-nspawn@"+name+".service")
		os.RemoveAll(filepath.Join(guests, name))
		os.Remove(settings)
	})
	run(t, "machinectl", "start", name)
}

// A watcher has the signals of the daemon since its making.
type watcher struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
}

func watch(t *testing.T) *watcher {
	t.Helper()
	conn, err := bus.Dial(t.Context(), bus.SystemAddress())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface(machine1.ManagerInterface)))
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, machine1.BusName)))
	w := &watcher{conn, make(chan *dbus.Signal, 1000)}
	conn.Signal(w.signals)
	return w
}

// await returns when the signal for this machine has come.
func (w *watcher) await(t *testing.T, member, name string) {
	t.Helper()
	w.awaitSignal(t, machine1.ManagerInterface+"."+member, name, machine1.MachinePath(name))
}

// awaitLoss returns when the bus has seen that the daemon is gone. A call sent
// before would still go to its connection.
func (w *watcher) awaitLoss(t *testing.T, owner string) {
	t.Helper()
	w.awaitSignal(t, "org.freedesktop.DBus.NameOwnerChanged", machine1.BusName, owner, "")
}

func (w *watcher) awaitSignal(t *testing.T, name string, body ...any) {
	t.Helper()
	var came []string
	for timeout := time.After(patience); ; {
		select {
		case s := <-w.signals:
			if s.Name == name && reflect.DeepEqual(s.Body, body) {
				return
			}
			came = append(came, fmt.Sprint(s.Name, s.Body))
		case <-timeout:
			t.Fatalf("%s%v did not come, but %q", name, body, came)
		}
	}
}

// owner returns the unique name of the daemon.
func (w *watcher) owner(t *testing.T) string {
	t.Helper()
	var owner string
	must(t, w.conn.BusObject().CallWithContext(t.Context(), "org.freedesktop.DBus.GetNameOwner", 0, machine1.BusName).Store(&owner))
	return owner
}

// call calls a method of the Manager.
func (w *watcher) call(t *testing.T, member string, in []any, out ...any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	manager := bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}
	return bus.Call(ctx, w.conn, manager, machine1.ManagerInterface+"."+member, false, in, out...)
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v, want %v", err, want)
	}
}
