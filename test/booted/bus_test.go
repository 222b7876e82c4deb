package booted

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// Every program of the bus loses its connection, and nobody tells it what
// happened meanwhile. systemd-machined 262 was seen to hang here.
func TestMachdBusRestartKeepsEverything(t *testing.T) {
	w := watch(t)
	startGuest(t, "bus-service")
	startByHand(t, w, "bus-scope")
	register(t, w, "bus-process", startProcess(t, "bus"))
	register(t, w, "bus-dies", startProcess(t, "bus-dies"))
	before := w.snapshot(t)
	delete(before, "bus-dies")
	// Those who do not come back by themselves, or only after a long time.
	t.Cleanup(func() { run(t, "systemctl", "restart", "systemd-logind.service", "polkit.service") })

	observe(t, "systemctl", "reset-failed", theService)
	run(t, "sh", "-c", "systemctl kill --signal=KILL bus-dies-process.service && systemctl restart dbus-broker.service")
	w = watch(t)
	eventually(t, "the daemon knows the machines again", func() error {
		if diff := cmp.Diff(before, w.snapshot(t)); diff != "" {
			return fmt.Errorf("machines (-before +after):\n%s", diff)
		}
		return nil
	})
	// It hears PID 1 again, and nspawn, which does not come back to the bus.
	run(t, "machinectl", "poweroff", "bus-service")
	w.await(t, "MachineRemoved", "bus-service")
	run(t, "systemctl", "stop", "bus-process.service")
	w.await(t, "MachineRemoved", "bus-process")
}

// What programs in the wild expect of an object: they ask for everything by an
// empty interface name, cast each property to a fixed type, and compute paths
// by themselves.
func TestPropertiesAreWhatProgramsExpect(t *testing.T) {
	t.Parallel()
	w := watch(t)
	const name = "9exact-1"
	p := startProcess(t, "exact")
	id := []byte("0123456789abcdef")
	var path dbus.ObjectPath
	must(t, w.call(t, "RegisterMachineWithNetwork", []any{name, id, "svc", "vm", uint32(p.pid), "/srv/x", []int32{1}}, &path))
	if want := dbus.ObjectPath("/org/freedesktop/machine1/machine/_39exact_2d1"); path != want {
		t.Errorf("its path is %s, want %s", path, want)
	}
	var values map[string]dbus.Variant
	target := bus.Target{Name: machine1.BusName, Path: path}
	must(t, bus.Call(t.Context(), w.conn, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{""}, &values))
	want := map[string]any{
		"Name": name, "Id": id, "Service": "svc", "Unit": p.unit, "Leader": uint32(p.pid), "Class": "vm",
		"RootDirectory": "/srv/x", "NetworkInterfaces": []int32{1}, "State": "running",
	}
	for key, value := range want {
		if got := values[key].Value(); !reflect.DeepEqual(got, value) {
			t.Errorf("%s is %#v, want %#v", key, got, value)
		}
	}
	for _, key := range []string{"Timestamp", "TimestampMonotonic"} {
		if got, ok := values[key].Value().(uint64); !ok || got == 0 {
			t.Errorf("%s is %v", key, values[key])
		}
	}
	var got dbus.ObjectPath
	must(t, w.call(t, "GetMachineByPID", []any{uint32(p.pid)}, &got))
	if got != path {
		t.Errorf("its process is in %s", got)
	}
	wantError(t, w.call(t, "GetMachineByPID", []any{uint32(1)}), machine1.ErrNoMachineForPID)
	wantError(t, w.call(t, "GetMachine", []any{"nobody"}), machine1.ErrNoSuchMachine)
	wantError(t, w.call(t, "GetImage", []any{"nobody"}), machine1.ErrNoSuchImage)
	wantError(t, w.call(t, "NoSuchMethod", nil), machine1.ErrUnknownMethod)
	target.Path = machine1.MachinePath("nobody")
	wantError(t, bus.Call(t.Context(), w.conn, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{""}), machine1.ErrUnknownObject)
}

// Programs take a signal of the Manager that they do not know for an error.
func TestManagerHasTwoSignals(t *testing.T) {
	w := watch(t)
	const name = "signals"
	startGuest(t, name)
	run(t, "machinectl", "shell", name, "/bin/true")
	run(t, "systemctl", "stop", serviceOf(name))
	eventually(t, "it is gone", func() error {
		if slices.Contains(w.list(t), name) {
			return errors.New("it is listed")
		}
		return nil
	})
	var own []string
	for _, signal := range w.all(t) {
		member, machine, _ := strings.Cut(signal, " ")
		if member != "MachineNew" && member != "MachineRemoved" {
			t.Errorf("the signal %s came", signal)
		}
		if machine == name {
			own = append(own, member)
		}
	}
	if !slices.Equal(own, []string{"MachineNew", "MachineRemoved"}) {
		t.Errorf("its signals were %q", own)
	}
}
