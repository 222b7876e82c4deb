package vm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A watcher has the signals of the daemon, whichever process it is, since the
// watcher's making.
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
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, machine1.BusName)))
	w := &watcher{conn, make(chan *dbus.Signal, 1000)}
	conn.Signal(w.signals)
	return w
}

// awaitNew and awaitRemoved return when the daemon has said so.
func (w *watcher) awaitNew(t *testing.T, machine string) {
	t.Helper()
	w.await(t, machine1.ManagerInterface+".MachineNew", machine, machine1.MachinePath(machine))
}

func (w *watcher) awaitRemoved(t *testing.T, machine string) {
	t.Helper()
	w.await(t, machine1.ManagerInterface+".MachineRemoved", machine, machine1.MachinePath(machine))
}

// owner returns the daemon's unique name on the bus.
func (w *watcher) owner(t *testing.T) string {
	t.Helper()
	owner := ""
	must(t, w.conn.BusObject().CallWithContext(t.Context(), "org.freedesktop.DBus.GetNameOwner", 0, machine1.BusName).Store(&owner))
	return owner
}

// await returns when the signal with these values has come.
func (w *watcher) await(t *testing.T, member string, values ...any) {
	t.Helper()
	want := fmt.Sprintf("%s%v", member, values)
	var came []string
	for timeout := time.After(patience); ; {
		select {
		case s := <-w.signals:
			got := fmt.Sprintf("%s%v", s.Name, s.Body)
			if got == want {
				return
			}
			came = append(came, got)
		case <-timeout:
			t.Fatalf("%s did not come, but %q", want, came)
		}
	}
}

// byPID asks the daemon for the machine of a process.
func (w *watcher) byPID(t *testing.T, pid int) (dbus.ObjectPath, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var path dbus.ObjectPath
	manager := bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}
	err := bus.Call(ctx, w.conn, manager, machine1.ManagerInterface+".GetMachineByPID", false, []any{uint32(pid)}, &path)
	return path, err
}

// interfaces returns the NetworkInterfaces of a machine.
func (w *watcher) interfaces(t *testing.T, machine string) []int32 {
	t.Helper()
	object := w.conn.Object(machine1.BusName, machine1.MachinePath(machine))
	value, err := object.GetProperty(machine1.MachineInterface + ".NetworkInterfaces")
	must(t, err)
	indices, ok := value.Value().([]int32)
	if !ok {
		t.Fatalf("NetworkInterfaces is %v", value)
	}
	return indices
}
