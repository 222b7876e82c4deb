package machine

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/machd/machd/pkg/machine1"
)

var exampleID = [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10}

// The files of a scope by both releases, and of a service below whose unit 262
// keeps the container in a subgroup it does not write.
const (
	file257 = `# This is private data. Do not parse.
NAME=c8-b
SCOPE=machine-c8\\x2db.scope
SCOPE_JOB=/org/freedesktop/systemd1/job/1234
SERVICE=systemd-nspawn
ROOT=/var/lib/machines/c8-b
ID=0123456789abcdeffedcba9876543210
LEADER=4711
CLASS=container
REALTIME=1700000000000001
MONOTONIC=1234567
NETIF=3 4
`
	file262 = `# This is private data. Do not parse.
NAME=c8-b
UID=1000
SCOPE="machine-c8\\x2db.scope"
SCOPE_JOB=/org/freedesktop/systemd1/job/1234
SERVICE=systemd-nspawn
ROOT="/srv/my machines/c8-b"
ID=0123456789abcdeffedcba9876543210
LEADER=4711
LEADER_PIDFDID=90210
SUPERVISOR=4700
SUPERVISOR_PIDFDID=90200
CLASS=container
REALTIME=1700000000000001
MONOTONIC=1234567
NETIF=" 3 4"
VSOCK_CID=4294967295
SSH_ADDRESS=vsock/5
SSH_PRIVATE_KEY_PATH=/run/key
CONTROL_ADDRESS=/run/control
`
)

func machineOf257() Machine {
	return Machine{
		Name:              "c8-b",
		ID:                exampleID,
		Service:           "systemd-nspawn",
		Class:             machine1.ClassContainer,
		RootDirectory:     "/var/lib/machines/c8-b",
		Unit:              `machine-c8\x2db.scope`,
		ScopeJob:          "/org/freedesktop/systemd1/job/1234",
		NetworkInterfaces: []int32{3, 4},
		VSockCID:          machine1.VSockCIDAny,
		Realtime:          1700000000000001,
		Monotonic:         1234567,
		leader:            identity{4711, 0},
	}
}

func machineOf262() Machine {
	m := machineOf257()
	m.UID = 1000
	m.RootDirectory = "/srv/my machines/c8-b"
	m.leader = identity{4711, 90210}
	m.supervisor = identity{4700, 90200}
	m.SSHAddress = "vsock/5"
	m.SSHPrivateKeyPath = "/run/key"
	m.ControlAddress = "/run/control"
	return m
}

var compareMachines = cmp.Options{
	cmp.AllowUnexported(Machine{}, identity{}),
	cmpopts.IgnoreFields(Machine{}, "Leader", "Supervisor", "generation", "life"),
}

func TestDecodeState(t *testing.T) {
	t.Parallel()
	with := func(m Machine, change func(*Machine)) Machine {
		change(&m)
		return m
	}
	tests := map[string]struct {
		file string
		want Machine
	}{
		"a file of 257": {file257, machineOf257()},
		"a file of 262": {file262, machineOf262()},
		"a file with a subgroup": {
			file262 + "SUBGROUP=payload\n",
			with(machineOf262(), func(m *Machine) { m.Subgroup = "payload" }),
		},
		"a CID of 0 is unknown": {
			file262 + "VSOCK_CID=0\n",
			machineOf262(),
		},
		"values that make no sense": {
			file262 + "NETIF=3 x 99999999999 0 4\nID=xyz\nUID=-1\nREALTIME=\nLEADER=1\nSUPERVISOR=4294967297\nSCOPE_JOB=no path\n",
			with(machineOf262(), func(m *Machine) {
				m.ID, m.UID, m.Realtime, m.ScopeJob = [16]byte{}, 0, 0, ""
				m.leader, m.supervisor = identity{}, identity{}
			}),
		},
		"a leader that nobody named": {
			file262 + "LEADER_IMPLIED=1\n",
			with(machineOf262(), func(m *Machine) { m.implied = true }),
		},
		"a leader that nobody named, in somebody else's unit": {
			file262 + "SUBGROUP=payload\nLEADER_IMPLIED=1\n",
			with(machineOf262(), func(m *Machine) { m.Subgroup = "payload" }),
		},
		"a key of a later release": {file262 + "COLOUR=blue\n", machineOf262()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeState("c8-b", []byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tt.want, compareMachines); diff != "" {
				t.Errorf("got - want +\n%s", diff)
			}
		})
	}
}

func TestDecodeStateRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"another machine's file":     strings.Replace(file262, "NAME=c8-b", "NAME=c8-c", 1),
		"an unknown class":           file262 + "CLASS=pod\n",
		"the host's class":           file262 + "CLASS=host\n",
		"an empty file":              "",
		"a binary file":              "\x7fELF\x00",
		"a unit that leads elsewere": file262 + "SCOPE=../../etc/passwd\n",
	}
	for name, file := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := decodeState("c8-b", []byte(file)); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestEncodeState holds the bytes to those of 262, with SUBGROUP in the place
// where 262 reads it, and our own key at the end.
func TestEncodeState(t *testing.T) {
	t.Parallel()
	m := machineOf262()
	if diff := cmp.Diff(string(encodeState(&m)), file262); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	m.Subgroup = "payload"
	m.implied = true // which says nothing about a unit that is not its own
	want := strings.Replace(file262, "SCOPE_JOB", "SUBGROUP=payload\nSCOPE_JOB", 1)
	if diff := cmp.Diff(string(encodeState(&m)), want); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	m.Subgroup = ""
	if diff := cmp.Diff(string(encodeState(&m)), file262+"LEADER_IMPLIED=1\n"); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	m.foreign = true
	if diff := cmp.Diff(string(encodeState(&m)), file262); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
}

func TestEncodeStateOmitsWhatIsAbsent(t *testing.T) {
	t.Parallel()
	m := Machine{Name: "vm", Class: machine1.ClassVM, Unit: "libvirt.service", leader: identity{pid: 42}}
	want := `# This is private data. Do not parse.
NAME=vm
UID=0
SCOPE=libvirt.service
LEADER=42
CLASS=vm
REALTIME=0
MONOTONIC=0
`
	if diff := cmp.Diff(string(encodeState(&m)), want); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
}

// FuzzDecodeState checks that whatever is read can be written and read again
// without change.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(file257))
	f.Add([]byte(file262))
	f.Add([]byte(file262 + "LEADER_IMPLIED=1\n"))
	f.Add([]byte("NAME=c8-b\nCLASS=vm\nSUBGROUP='a b'\nROOT=\"\\\\\n\"\nNETIF=\"\t1\n2\"\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := decodeState("c8-b", file)
		if err != nil {
			return
		}
		again, err := decodeState("c8-b", encodeState(&m))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(again, m, compareMachines); diff != "" {
			t.Errorf("again - before +\n%s", diff)
		}
	})
}

func TestSaveAndRemove(t *testing.T) {
	t.Parallel()
	dir := stateDir(t.TempDir())
	m := machineOf262()
	for range 2 {
		if err := dir.save(&m); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(dir.path("c8-b"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o644 {
		t.Errorf("mode %v", got)
	}
	if target, err := os.Readlink(dir.link(m.Unit)); err != nil || target != "c8-b" {
		t.Errorf("link to %q, %v", target, err)
	}
	if got := entriesOf(t, string(dir)); len(got) != 2 {
		t.Errorf("directory has %q", got)
	}
	if err := dir.remove(&m); err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(t, string(dir)); len(got) != 0 {
		t.Errorf("directory has %q", got)
	}
	if err := dir.remove(&m); err != nil {
		t.Errorf("second time: %v", err)
	}
}

func TestDirectoryHoldsWhatWasSaved(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(d stateDir, m *Machine) error{
		"as it was saved": func(stateDir, *Machine) error { return nil },
		"another value":   func(_ stateDir, m *Machine) error { m.Service = "other"; return nil },
		"no file":         func(d stateDir, m *Machine) error { return os.Remove(d.path(m.Name)) },
		"no link":         func(d stateDir, m *Machine) error { return os.Remove(d.link(m.Unit)) },
		"another mode":    func(d stateDir, m *Machine) error { return os.Chmod(d.path(m.Name), 0o600) },
		"a file of 257":   func(d stateDir, m *Machine) error { return os.WriteFile(d.path(m.Name), []byte(file257), 0o644) },
	}
	for name, change := range spoil {
		t.Run(name, func(t *testing.T) {
			dir, m := stateDir(t.TempDir()), machineOf262()
			if err := dir.save(&m); err != nil {
				t.Fatal(err)
			}
			if err := change(dir, &m); err != nil {
				t.Fatal(err)
			}
			if got, want := dir.holds(&m), name == "as it was saved"; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestSaveLeavesAnotherMachinesLinkAlone(t *testing.T) {
	t.Parallel()
	dir := stateDir(t.TempDir())
	m := machineOf262()
	if err := os.Symlink("other", dir.link(m.Unit)); err != nil {
		t.Fatal(err)
	}
	if err := dir.save(&m); err != nil {
		t.Fatal(err)
	}
	if err := dir.remove(&m); err != nil {
		t.Fatal(err)
	}
	if target, _ := os.Readlink(dir.link(m.Unit)); target != "other" {
		t.Errorf("link to %q", target)
	}
}

func TestOnlyAnOwnerHasALink(t *testing.T) {
	t.Parallel()
	dir := stateDir(t.TempDir())
	m := machineOf262()
	m.Subgroup = "payload"
	if err := dir.save(&m); err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(t, string(dir)); !cmp.Equal(got, []string{"c8-b"}) {
		t.Errorf("directory has %q", got)
	}
}

func entriesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
