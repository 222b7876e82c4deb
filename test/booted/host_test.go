package booted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	w := &watcher{conn, make(chan *dbus.Signal, 1000)}
	conn.Signal(w.signals)
	return w
}

// await returns when the signal for this machine has come.
func (w *watcher) await(t *testing.T, member, name string) {
	t.Helper()
	want := fmt.Sprintf("%s.%s(%s, %s)", machine1.ManagerInterface, member, name, machine1.MachinePath(name))
	var came []string
	for timeout := time.After(patience); ; {
		select {
		case s := <-w.signals:
			got := fmt.Sprintf("%s(%v, %v)", s.Name, s.Body[0], s.Body[1])
			if got == want {
				return
			}
			came = append(came, got)
		case <-timeout:
			t.Fatalf("%s did not come, but %q", want, came)
		}
	}
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
