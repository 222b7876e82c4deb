package busapi

import (
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// property is one element of an a(sv).
func property(name string, value any) machine1.Property {
	return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
}

func TestPropertiesOfARegistration(t *testing.T) {
	t.Parallel()
	id := []byte("0123456789abcdef")
	p := func(properties ...machine1.Property) []machine1.Property { return properties }
	for name, c := range map[string]struct {
		machine    string
		properties []machine1.Property
		want       string
	}{
		"nothing at all":                   {"m", nil, ""},
		"all that nspawn sends":            {"m", p(property("Id", id), property("Service", "systemd-nspawn"), property("Class", "container"), property("LeaderPIDFD", dbus.UnixFD(3)), property("LeaderPIDFDID", uint64(7)), property("LeaderPID", uint32(5)), property("RootDirectory", "/a"), property("NetworkInterfaces", []int32{2})), ""},
		"all that vmspawn sends":           {"m", p(property("Class", "vm"), property("VSockCID", uint32(3)), property("SSHAddress", "vsock/3"), property("SSHPrivateKeyPath", "/key")), ""},
		"a name with an underscore":        {"a_b", p(property("Id", id[:3])), "Invalid machine name"},
		"the host's name":                  {machine1.Host, nil, "Invalid machine name"},
		"a property nobody knows":          {"m", p(property("Leader", uint32(5))), "Unknown property 'Leader'"},
		"an id of three bytes":             {"m", p(property("Id", id[:3])), "Invalid machine ID parameter"},
		"no id":                            {"m", p(property("Id", []byte{})), ""},
		"an id that is a text":             {"m", p(property("Id", string(id))), "Property 'Id' is of type 's', not 'ay'"},
		"class host":                       {"m", p(property("Class", "host")), "Invalid machine class parameter"},
		"a class nobody knows":             {"m", p(property("Class", "pod")), "Invalid machine class parameter"},
		"PID 1":                            {"m", p(property("LeaderPID", uint32(1)), property("LeaderPIDFDID", uint64(7))), "Invalid leader PID"},
		"a PID beyond all":                 {"m", p(property("LeaderPID", uint32(1<<31)), property("LeaderPIDFDID", uint64(7))), "Invalid leader PID"},
		"a PID that is a text":             {"m", p(property("LeaderPID", "5")), "Property 'LeaderPID' is of type 's', not 'u'"},
		"a PID alone":                      {"m", p(property("LeaderPID", uint32(5))), "LeaderPID and LeaderPIDFDID are only valid together"},
		"a PIDFD ID alone":                 {"m", p(property("LeaderPIDFDID", uint64(5))), "LeaderPID and LeaderPIDFDID are only valid together"},
		"PIDFD ID 0":                       {"m", p(property("LeaderPIDFDID", uint64(0))), "Invalid leader PIDFD ID"},
		"a PID with its PIDFD ID":          {"m", p(property("LeaderPID", uint32(5)), property("LeaderPIDFDID", uint64(7))), ""},
		"a descriptor with one of the two": {"m", p(property("LeaderPIDFD", dbus.UnixFD(3)), property("LeaderPID", uint32(5))), ""},
		"a relative root":                  {"m", p(property("RootDirectory", "a")), "Root directory must be empty or an absolute path"},
		"a root with dots":                 {"m", p(property("RootDirectory", "/a/../b")), "Root directory must be empty or an absolute path"},
		"interface 0":                      {"m", p(property("NetworkInterfaces", []int32{2, 0})), "Invalid network interface index 0"},
		"CID 2":                            {"m", p(property("VSockCID", uint32(2))), "Invalid VSock CID 2"},
		"any CID":                          {"m", p(property("VSockCID", uint32(machine1.VSockCIDAny))), "Invalid VSock CID 4294967295"},
		"the last of two counts":           {"m", p(property("Class", "host"), property("Class", "vm")), ""},
		"class before root":                {"m", p(property("RootDirectory", "a"), property("Class", "host")), "Invalid machine class parameter"},
		"root before leader":               {"m", p(property("LeaderPID", uint32(5)), property("RootDirectory", "a")), "Root directory must be empty or an absolute path"},
	} {
		_, _, err := registrationEx(c.machine, c.properties)
		got := ""
		if err != nil {
			got = err.Error()
			if !errors.Is(err, machine1.ErrInvalidArgs) {
				t.Errorf("%s: the error is a %s", name, machine1.ErrorName(err))
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPropertiesAreTakenOver(t *testing.T) {
	t.Parallel()
	got, leader, err := registrationEx("m", []machine1.Property{
		property("Id", []byte("0123456789abcdef")), property("Service", "s"), property("Class", "vm"), property("RootDirectory", "/a"),
		property("NetworkInterfaces", []int32{2, 3}), property("VSockCID", uint32(3)), property("SSHAddress", "vsock/3"),
		property("SSHPrivateKeyPath", "/key"), property("LeaderPIDFD", dbus.UnixFD(9)),
	})
	must(t, err)
	if diff := cmp.Diff(machine.Registration{
		Name: "m", ID: [16]byte([]byte("0123456789abcdef")), Service: "s", Class: machine1.ClassVM, RootDirectory: "/a",
		NetworkInterfaces: []int32{2, 3}, VSockCID: 3, SSHAddress: "vsock/3", SSHPrivateKeyPath: "/key",
	}, got); diff != "" {
		t.Error(diff)
	}
	if leader.fd != 9 {
		t.Errorf("the leader is descriptor %d", leader.fd)
	}
	if got, _, _ := registrationEx("m", nil); got.VSockCID != machine1.VSockCIDAny {
		t.Errorf("the CID of a machine without one is %d", got.VSockCID)
	}
}

// A leader by descriptor, by number, or not at all, over the bus.
func TestCreateMachineEx(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader, err := proc.Open(w.leader)
	must(t, err)
	defer leader.Close()
	scope := []machine1.Property{property("Slice", "a.slice")}
	pid, id := property("LeaderPID", uint32(leader.PID())), property("LeaderPIDFDID", leader.ID())
	wrongID, wrongPID := property("LeaderPIDFDID", leader.ID()+1), property("LeaderPID", uint32(2))
	class := property("Class", "container")
	const invalid, unknownProcess = "org.freedesktop.DBus.Error.InvalidArgs", "org.freedesktop.DBus.Error.UnixProcessIdUnknown"

	must(t, leader.WithFD(func(fd int) error {
		pidfd := property("LeaderPIDFD", dbus.UnixFD(fd))
		for _, c := range []struct {
			name       string
			properties []machine1.Property
			want       string
		}{
			{aContainer, []machine1.Property{class, pidfd, wrongPID}, "org.freedesktop.machine1.MachineExists"},
			{"m1", []machine1.Property{class, pidfd, wrongPID}, invalid},
			{"m1", []machine1.Property{class, pidfd, wrongID}, invalid},
			{"m1", []machine1.Property{class, pid, wrongID}, unknownProcess},
			{"m1", []machine1.Property{class, pidfd, id, pid}, ""},
		} {
			var path dbus.ObjectPath
			err := w.manager(t, "CreateMachineEx", []any{c.name, c.properties, scope}, &path)
			if err != nil && machine1.ErrorName(err) != c.want || err == nil && (c.want != "" || path != machine1.MachinePath(c.name)) {
				t.Errorf("%s %v: got %q, %v, want %q", c.name, c.properties, path, err, c.want)
			}
		}
		return nil
	}))
	m, ok := w.machines.View().Get("m1")
	if !ok || m.Leader.PID() != w.leader || m.Supervisor.PID() != unix.Getpid() || m.VSockCID != machine1.VSockCIDAny {
		t.Errorf("the machine is %+v", m)
	}
}

func TestLeaderByADescriptorOfSomethingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ member, name string }{{"CreateMachineEx", "m"}, {"RegisterMachineEx", "m"}} {
		in := []any{c.name, []machine1.Property{property("Class", "vm"), property("LeaderPIDFD", dbus.UnixFD(0))}}
		if c.member == "CreateMachineEx" {
			in = append(in, []machine1.Property{})
		}
		err := w.manager(t, c.member, in)
		if machine1.ErrorName(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
			t.Errorf("%s: %s: %v", c.member, machine1.ErrorName(err), err)
		}
	}
}
