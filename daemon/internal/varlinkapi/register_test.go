package varlinkapi

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// null is a JSON null; a plain nil leaves a key out.
var null = (*int)(nil)

// Where a case says nothing else, systemd-machined 257 and 262 were seen to
// answer the same.
func TestRegisterRefusesAField(t *testing.T) {
	t.Parallel()
	f := start(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	type field struct {
		name   string
		values []any
	}
	for _, tt := range []field{
		{"name", []any{nil, null, 5, "", "bad_name", ".host", "-a", "a-", "a..b", ".a", strings.Repeat("x", 65)}},
		{"id", []any{null, 5, "", "0", strings.Repeat("x", 32), strings.Repeat("0", 31), "01234567-89ab-cdef-0123456789abcdef0"}},
		{"service", []any{null, 5}},
		{"class", []any{nil, null, 1, "", "host", "foo", "Container"}},
		{"leader", []any{"x", 0, 1, -1, 1 << 31, 1.5, gone.Process.Pid, true}},
		{"leaderProcessId", []any{null, f.leader, input{}, input{"pid": 0}, input{"pid": 1}, input{"pid": -1},
			input{"pid": gone.Process.Pid}, input{"pid": f.leader, "x": 1},
			input{"pid": f.leader, "pidfdId": 7}, input{"pid": f.leader, "pidfdId": -1}, input{"pid": f.leader, "bootId": "zz"},
			input{"pid": f.leader, "bootId": strings.Repeat("0", 31) + "1"}}},
		{"supervisor", []any{7.5, true, []any{}}},
		{"supervisorProcessId", []any{7, input{}, input{"pid": -1, "bogus": 1}, input{"pid": -1, "bootId": 7}, input{"pid": true}}},
		{"rootDirectory", []any{null, 5, "", "a/b", "//", "/a//b", "/a/./b", "/a/../b", "/..", "/" + strings.Repeat("a", 256), strings.Repeat("/a", 2048)}},
		{"ifIndices", []any{null, 5, "5", []any{0}, []any{-1}, []any{1, 1 << 31}, []any{"5"}, []any{null}, []any{[]any{1}}}},
		{"vSockCid", []any{null, "x", -1, 0, 1, 2, math.MaxUint32, 1 << 32}},
		{"sshAddress", []any{null, 5, "a\nb", "a\tb", "a\x7fb", `a"b`, `a\b`, "a'b"}},
		{"sshPrivateKeyPath", []any{null, 5, "", "k", "/" + strings.Repeat("a", 256)}},
		{"controlAddress", []any{null, 5, "", "k", "/a/../b", "/a//b"}},
		{"allocateUnit", []any{null, "yes", 1}},
		{"allowInteractiveAuthentication", []any{null, "yes", 0}},
		{"networkInterfaces", []any{[]any{1}}},
		{"bogus", []any{1, null}},
	} {
		for _, value := range tt.values {
			in := input{"name": "m", "class": "container", "leaderProcessId": input{"pid": f.leader}}
			if tt.name == "leader" {
				delete(in, "leaderProcessId")
			}
			f.want(t, "Register", in.merge(input{tt.name: value}), invalid(tt.name))
		}
	}
	f.want(t, "Register", input{"name": "m", "class": "vm", "leader": os.Getpid(), "leaderProcessId": input{"pid": f.leader}}, invalid("leader"))
	f.want(t, "Register", nil, invalid("name"))
	if calls, questions := f.machines.take(), f.polkit.take(); calls != nil || questions != nil {
		t.Errorf("calls %q, questions %v", calls, questions)
	}
}

func TestRegisterHandsOverWhatItWasGiven(t *testing.T) {
	t.Parallel()
	f := start(t)
	boot, err := proc.BootID()
	if err != nil {
		t.Fatal(err)
	}
	leader, err := proc.Open(f.leader)
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	id := [16]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}

	for name, tt := range map[string]struct {
		in   input
		want machine.Registration
	}{
		"everything": {
			input{"class": "vm", "id": "0123456789abcdef0123456789abcdef", "service": "s\n", "leader": f.leader,
				"leaderProcessId": input{"pid": f.leader, "pidfdId": leader.ID(), "bootId": boot},
				"supervisor":      "ignored", "supervisorProcessId": null, "rootDirectory": "/a/b/", "ifIndices": []int{3, 2},
				"vSockCid": 3, "sshAddress": "vsock/3", "sshPrivateKeyPath": "/k/../k", "controlAddress": "/c", "allocateUnit": false},
			machine.Registration{Class: "vm", ID: id, Service: "s\n", RootDirectory: "/a/b/", NetworkInterfaces: []int32{3, 2},
				VSockCID: 3, SSHAddress: "vsock/3", SSHPrivateKeyPath: "/k/../k", ControlAddress: "/c"},
		},
		"as little as possible": {
			input{"leader": f.leader},
			machine.Registration{Class: "container", VSockCID: machine1.VSockCIDAny},
		},
		"another way of writing": {
			input{"leader": f.leader, "id": "01234567-89AB-cdef-0123-456789abcdef", "vSockCid": "4294967294", "rootDirectory": "/"},
			machine.Registration{Class: "container", ID: id, VSockCID: math.MaxUint32 - 1, RootDirectory: "/"},
		},
		"IDs that are null": {
			input{"leaderProcessId": input{"pid": f.leader, "pidfdId": 0, "bootId": strings.Repeat("0", 32)},
				"id": strings.Repeat("0", 32), "sshAddress": "", "service": "", "ifIndices": []int{}},
			machine.Registration{Class: "container", VSockCID: machine1.VSockCIDAny},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.want(t, "Register", input{"name": "m", "class": "container"}.merge(tt.in), done)
			got := f.machines.registration()
			if got.Leader.PID() != f.leader || got.Supervisor.PID() != os.Getpid() {
				t.Errorf("leader %d, supervisor %d; want %d, %d", got.Leader.PID(), got.Supervisor.PID(), f.leader, os.Getpid())
			}
			tt.want.Name = "m"
			ignored := cmpopts.IgnoreFields(machine.Registration{}, "Leader", "Supervisor", "CallerCgroup")
			if diff := cmp.Diff(tt.want, got, ignored, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			f.want(t, "Unregister", input{"name": "m"}, done)
		})
	}
}

func TestRegisterTheCaller(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.want(t, "Register", input{"name": "m", "class": "vm", "allocateUnit": true}, done)
	if got := f.machines.registration(); got.Leader.PID() != os.Getpid() || got.Supervisor != nil {
		t.Errorf("leader %d, supervisor %v", got.Leader.PID(), got.Supervisor)
	}
	if diff := cmp.Diff([]string{"create m [] wait=false"}, f.machines.take()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	f := start(t)
	leader := f.register(t, "m", nil)
	before := f.one(t, "List", input{"name": "m"})
	f.want(t, "Register", input{"name": "m", "class": "container", "leader": f.leader}, machineExists)
	f.want(t, "Register", input{"name": "m", "class": "container", "leader": f.leader, "allocateUnit": true}, machineExists)
	f.want(t, "Register", input{"name": "n", "class": "container", "leader": leader}, alreadyALeader)
	f.want(t, "List", input{"name": "m"}, before)
}

func TestRegisterAsksPolkit(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "a", nil)
	f.register(t, "b", input{"class": "vm", "allocateUnit": true, "allowInteractiveAuthentication": true})
	want := []auth.Request{
		{Action: "org.freedesktop.machine1.register-machine", Details: map[string]string{"name": "a", "class": "container"}},
		{Action: "org.freedesktop.machine1.create-machine", Details: map[string]string{"name": "b", "class": "vm"}, Interactive: true},
	}
	if diff := cmp.Diff(want, f.polkit.take()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRegisterIsRefused(t *testing.T) {
	t.Parallel()
	f := start(t)
	in := input{"name": "m", "class": "container", "leader": f.leader}
	f.polkit.refuse(machine1.ErrAccessDenied)
	f.want(t, "Register", in, denied)
	f.polkit.refuse(machine1.ErrInteractionRequired)
	f.want(t, "Register", in, askSomebody)
	if calls := f.machines.take(); calls != nil {
		t.Errorf("calls: %q", calls)
	}
}

func TestOnlyOwnProcessesCanBeRegistered(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, so that the leader is another user's")
	}
	f := start(t)
	f.uid.Store(61234)
	in := input{"name": "m", "class": "container", "leader": f.leader}
	f.want(t, "Register", in, denied)
	f.polkit.say(func(auth.Request) (auth.Verdict, error) { return auth.Verdict{Admin: true}, nil })
	f.want(t, "Register", in, done)
	if f.machines.registration().UID != f.uid.Load() {
		t.Errorf("registered for user %d", f.machines.registration().UID)
	}
}
