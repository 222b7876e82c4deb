package booted

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// The daemons, by the names of their processes.
const (
	machd = "machd"
	stock = "systemd-machine"
)

// theService is whichever of the two is in place: machd has it as an alias.
const theService = "systemd-machined.service"

var busDriver = bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}

// daemonNow tells which daemon owns the name, and has it started before if none
// does.
func daemonNow() (string, error) {
	pid, err := daemonPID()
	if err != nil {
		return "", err
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm)), err
}

func daemonPID() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := bus.Dial(ctx, bus.SystemAddress())
	if err != nil {
		return 0, err
	}
	defer conn.Close()

	var started, pid uint32
	err = bus.Call(ctx, conn, busDriver, "org.freedesktop.DBus.StartServiceByName", false, []any{machine1.BusName, uint32(0)}, &started)
	if err != nil {
		return 0, err
	}
	err = bus.Call(ctx, conn, busDriver, "org.freedesktop.DBus.GetConnectionUnixProcessID", false, []any{machine1.BusName}, &pid)
	return int(pid), err
}

// pid returns the process of the daemon.
func pid(t *testing.T) int {
	t.Helper()
	pid, err := daemonPID()
	must(t, err)
	return pid
}

func wantDaemon(t *testing.T, want string) {
	t.Helper()
	got, err := daemonNow()
	must(t, err)
	if got != want {
		t.Fatalf("the daemon is %q, want %q", got, want)
	}
}

// useStock puts systemd-machined in machd's place, as README.md says, until the
// test's end.
func useStock(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if now, _ := daemonNow(); now != machd {
			useMachd(t)
		}
	})
	// If machd was stopped before, PID 1 may load systemd-machined first as it
	// reads its units again. Then it cannot stop machd, for want of a unit.
	got := observe(t, "systemctl", "disable", "--now", "machd.socket", "machd.service")
	if got.Code != 0 && !strings.Contains(got.Stderr, "Unit machd.service not loaded.") {
		t.Fatalf("machd cannot be disabled: exit status %d\n%s", got.Code, got.Stderr)
	}
	wantDaemon(t, stock)
}

// useMachd puts machd in its place, as README.md says.
func useMachd(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "enable", "machd")
	run(t, "systemctl", "restart", "machd.socket", "machd.service")
	wantDaemon(t, machd)
}

// kill kills the daemon as no handler can help, and returns when the bus has
// seen that: a call sent before would still go to the dead one's connection.
func (w *watcher) kill(t *testing.T) {
	t.Helper()
	var owner string
	must(t, bus.Call(t.Context(), w.conn, busDriver, "org.freedesktop.DBus.GetNameOwner", false, []any{machine1.BusName}, &owner))
	run(t, "systemctl", "kill", "--signal=KILL", theService)
	w.awaitSignal(t, "org.freedesktop.DBus.NameOwnerChanged", machine1.BusName, owner, "")
}

// A watcher has the signals of the daemon since its making.
type watcher struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
}

func watch(t *testing.T) *watcher {
	t.Helper()
	w := &watcher{dial(t), make(chan *dbus.Signal, 10_000)}
	must(t, w.conn.AddMatchSignal(dbus.WithMatchInterface(machine1.ManagerInterface)))
	must(t, w.conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, machine1.BusName)))
	must(t, w.conn.AddMatchSignal(dbus.WithMatchInterface(markerInterface)))
	w.conn.Signal(w.signals)
	return w
}

// dial connects to the bus until the test's end.
func dial(t *testing.T) *dbus.Conn {
	t.Helper()
	// Clean-ups make calls too, after the test's context has ended.
	conn, err := bus.Dial(context.WithoutCancel(t.Context()), bus.SystemAddress())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// await returns when the signal for this machine has come.
func (w *watcher) await(t *testing.T, member, name string) {
	t.Helper()
	w.awaitSignal(t, machine1.ManagerInterface+"."+member, name, machine1.MachinePath(name))
}

func (w *watcher) awaitSignal(t *testing.T, name string, body ...any) {
	t.Helper()
	want := fmt.Sprint(name, body)
	var came []string
	for timeout := time.After(patience); ; {
		select {
		case s := <-w.signals:
			got := fmt.Sprint(s.Name, s.Body)
			if got == want {
				return
			}
			came = append(came, got)
		case <-timeout:
			t.Fatalf("%s did not come, but %q", want, came)
		}
	}
}

// seen returns the machines that signals of this kind have come for until now.
func (w *watcher) seen(t *testing.T, member string) []string {
	t.Helper()
	var names []string
	for _, signal := range w.all(t) {
		if name, ok := strings.CutPrefix(signal, member+" "); ok {
			names = append(names, name)
		}
	}
	return names
}

// all returns the signals of the Manager that have come until now, as
// "Member Name".
func (w *watcher) all(t *testing.T) []string {
	t.Helper()
	// The daemon's signals go ahead of its reply, and the marker comes behind
	// them in the same line.
	w.list(t)
	marker := strconv.FormatUint(markers.Add(1), 10)
	must(t, w.conn.Emit("/org/machd/test", markerInterface+".Marker", marker))
	var signals []string
	for timeout := time.After(patience); ; {
		select {
		case s := <-w.signals:
			member, ours := strings.CutPrefix(s.Name, machine1.ManagerInterface+".")
			switch {
			case ours:
				signals = append(signals, fmt.Sprint(member, " ", s.Body[0]))
			case s.Name == markerInterface+".Marker" && s.Sender == w.conn.Names()[0] && s.Body[0] == marker:
				return signals
			}
		case <-timeout:
			t.Fatal("my own signal did not come")
		}
	}
}

const markerInterface = "org.machd.Test"

var markers atomic.Uint64

var manager = bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}

// call calls a method of the Manager.
func (w *watcher) call(t *testing.T, member string, in []any, out ...any) error {
	t.Helper()
	return call(t, w.conn, member, in, out...)
}

func call(t *testing.T, conn *dbus.Conn, member string, in []any, out ...any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	return bus.Call(ctx, conn, manager, machine1.ManagerInterface+"."+member, false, in, out...)
}
