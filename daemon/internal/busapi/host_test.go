package busapi

import (
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// What the host can do as a machine, and what it refuses.
func TestHostAsAMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		works        = ""
		notSupported = "org.freedesktop.DBus.Error.NotSupported"
		notFound     = "org.freedesktop.DBus.Error.FileNotFound"
		invalid      = "org.freedesktop.DBus.Error.InvalidArgs"
		inside       = "inside" // it is looked for in the host's own namespaces
	)
	none := map[string]dbus.Variant{}
	for _, c := range []struct {
		iface, member string
		in            []any
		want          string
	}{
		{machine1.MachineInterface, "OpenPTY", nil, inside},
		{machine1.MachineInterface, "OpenLogin", nil, inside},
		{machine1.MachineInterface, "OpenShell", []any{"", "", []string{}, []string{}}, inside},
		{machine1.MachineInterface, "GetAddresses", nil, works},
		{machine1.MachineInterface, "GetOSRelease", nil, inside},
		{machine1.MachineInterface, "GetUIDShift", nil, works},
		{machine1.MachineInterface, "OpenRootDirectory", nil, inside},
		{machine1.MachineInterface, "GetSSHInfo", nil, notFound},
		{machine1.MachineInterface, "BindMount", []any{"/a", "/b", false, false}, notSupported},
		{machine1.MachineInterface, "CopyFrom", []any{"/a", "/b"}, notSupported},
		{machine1.MachineInterface, "CopyTo", []any{"/a", "/b"}, notSupported},
		{machine1.MachineInterface, "CopyFromWithFlags", []any{"/a", "/b", uint64(0)}, notSupported},
		{machine1.MachineInterface, "CopyToWithFlags", []any{"/a", "/b", uint64(2)}, notSupported},
		{machine1.MachineInterface, "Kill", []any{"", int32(15)}, notSupported},
		{machine1.MachineInterface, "Terminate", nil, notSupported},
		{machd.MachineInterface, "BindMount", []any{"/a", "/b", none}, notSupported},
		{machd.MachineInterface, "Unbind", []any{"/b", none}, notSupported},
		{machd.MachineInterface, "CopyFrom", []any{"/a", "/b", none}, notSupported},
		{machd.MachineInterface, "CopyTo", []any{"/a", "/b", none}, notSupported},
		{machd.MachineInterface, "Stop", []any{none}, notSupported},
		{machd.MachineInterface, "Restart", []any{none}, notSupported},
		{machine1.ManagerInterface, "MapFromMachineUser", []any{machine1.Host, uint32(0)}, invalid},
		{machine1.ManagerInterface, "MapFromMachineGroup", []any{machine1.Host, uint32(0)}, invalid},
		{machine1.ManagerInterface, "UnregisterMachine", []any{machine1.Host}, works},
		{machine1.ManagerInterface, "GetMachine", []any{machine1.Host}, works},
		{machine1.ManagerInterface, "GetMachineByPID", []any{uint32(1)}, "org.freedesktop.machine1.NoMachineForPID"},
		{machine1.ManagerInterface, "RegisterMachine", []any{machine1.Host, []byte{}, "", "container", uint32(0), ""}, invalid},
	} {
		path := machine1.MachinePath(machine1.Host)
		if c.iface == machine1.ManagerInterface {
			path = machine1.ObjectPath
		}
		err := w.call(t, path, c.iface+"."+c.member, c.in)
		got := works
		leaders := w.inside.take()
		switch {
		case len(leaders) > 0:
			got = inside
			if slices.ContainsFunc(leaders, notNil) {
				t.Errorf("%s enters the namespaces of a process", c.member)
			}
		case err != nil:
			got = machine1.ErrorName(err)
		}
		if got != c.want {
			t.Errorf("%s.%s: got %q (%v), want %q", c.iface, c.member, got, err, c.want)
		}
	}
	if err := w.manager(t, "GetMachine", []any{machine1.Host}); err != nil {
		t.Errorf("the host is gone: %v", err)
	}
}
