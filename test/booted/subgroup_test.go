package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// newcomers are the properties that systemd-machined has since 258, of which
// its own restart loses none but the subgroup.
var newcomers = []string{"Subgroup", "Supervisor", "SupervisorPIDFDId", "LeaderPIDFDId", "UID", "VSockCID", "SSHAddress", "SSHPrivateKeyPath"}

// tenants are machines that share one unit: the first has it, the others have
// cgroups below it.
type tenants struct {
	homes   []home
	leaders []*exec.Cmd
}

func startTenants(t *testing.T, w *watcher, prefix string) (all tenants) {
	t.Helper()
	for i, subgroup := range []string{"", "one", "two/deeper"} {
		h := home{}
		if i == 0 {
			h = newHome(t, prefix+".service", "")
		} else {
			h = all.homes[0]
			h.subgroup, h.cgroup = subgroup, filepath.Join(h.cgroup, subgroup)
			must(t, os.MkdirAll(h.cgroup, 0o755))
		}
		leader := h.startLeader(t)
		must(t, w.call(t, "RegisterMachine", registration(fmt.Sprintf("%s-%d", prefix, i), leader.Process.Pid)))
		all.homes, all.leaders = append(all.homes, h), append(all.leaders, leader)
	}
	return all
}

// Several machines may live in one unit. Only the one that has the whole of it
// is found by it, and what is done to one is not done to another.
func TestNewMachinesShareAUnit(t *testing.T) {
	terms := wantNoSIGTERM(t)
	w := watch(t)
	all := startTenants(t, w, "tenants")
	for i, h := range all.homes {
		name := fmt.Sprintf("tenants-%d", i)
		p := w.properties(t, name)
		if p["Unit"] != h.unit || p["Subgroup"] != h.subgroup || p["Supervisor"] != uint32(os.Getpid()) {
			t.Errorf("%s: unit %v, subgroup %v, supervisor %v", name, p["Unit"], p["Subgroup"], p["Supervisor"])
		}
	}
	files := stateFiles(t)
	if got := files["unit:"+all.homes[0].unit]; got != "tenants-0" {
		t.Errorf("the unit's link leads to %q", got)
	}
	for pid, want := range map[int]dbus.ObjectPath{
		all.leaders[1].Process.Pid:              machine1.MachinePath("tenants-1"),
		all.homes[0].startLeader(t).Process.Pid: machine1.MachinePath("tenants-0"),
	} {
		var path dbus.ObjectPath
		must(t, w.call(t, "GetMachineByPID", []any{uint32(pid)}, &path))
		if path != want {
			t.Errorf("process %d is of %s, want %s", pid, path, want)
		}
	}
	// A leader that dies takes no other machine along. systemd-machined then
	// sends SIGTERM to the supervisor, machd does not.
	end(all.leaders[2])
	w.await(t, "MachineRemoved", "tenants-2")
	select {
	case <-terms:
	case <-time.After(100 * time.Millisecond):
	}
	wantIn(t, all.homes[0], all.leaders[0])
	wantIn(t, all.homes[1], all.leaders[1])

	// Who has no unit of his own is ended by his supervisor.
	must(t, w.call(t, "TerminateMachine", []any{"tenants-1"}))
	select {
	case <-terms:
	case <-time.After(patience):
		t.Error("the supervisor was not told")
	}
	if state := w.properties(t, "tenants-1")["State"]; state != "closing" {
		t.Errorf("it is %v", state)
	}
	wantIn(t, all.homes[1], all.leaders[1])
	end(all.leaders[1])
	w.await(t, "MachineRemoved", "tenants-1")
	must(t, w.call(t, "TerminateMachine", []any{"tenants-0"}))
	w.await(t, "MachineRemoved", "tenants-0")
	eventually(t, "the unit is stopped", func() error {
		if unitIs(t, all.homes[0].unit, "active")() == nil {
			return fmt.Errorf("%s is active", all.homes[0].unit)
		}
		return nil
	})
}

// A signal to all of a machine stays within its cgroup.
func Test262KillStaysInTheSubgroup(t *testing.T) {
	wantNoSIGTERM(t)
	w := watch(t)
	all := startTenants(t, w, "kills")
	second := all.homes[1].startLeader(t)
	must(t, w.call(t, "KillMachine", []any{"kills-1", "all", int32(unix.SIGKILL)}))
	w.await(t, "MachineRemoved", "kills-1")
	if err := second.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("another process in it: %v", err)
	}
	wantIn(t, all.homes[0], all.leaders[0])
	wantIn(t, all.homes[2], all.leaders[2])
	must(t, w.call(t, "KillMachine", []any{"kills-2", "leader", int32(unix.SIGKILL)}))
	w.await(t, "MachineRemoved", "kills-2")
	wantIn(t, all.homes[0], all.leaders[0])
}

// What systemd-machined of 258 and later knows of a machine survives restarts
// and swaps; it does not write down the subgroup, but machd finds that again.
func TestMachd262SwapKeepsWhatIsNew(t *testing.T) {
	wantNoSIGTERM(t)
	w := watch(t)
	startTenants(t, w, "new")
	must(t, w.call(t, "RegisterMachineEx", []any{"new-vm", []machine1.Property{
		{Name: "Class", Value: dbus.MakeVariant("vm")},
		{Name: "LeaderPIDFD", Value: dbus.MakeVariant(pidfdOf(t, startProcess(t, "new-vm").pid))},
		{Name: "VSockCID", Value: dbus.MakeVariant(uint32(77))},
		{Name: "SSHAddress", Value: dbus.MakeVariant("vsock/77")},
		{Name: "SSHPrivateKeyPath", Value: dbus.MakeVariant("/etc/key of a vm")},
	}}))
	look := func() map[string]map[string]any {
		all := w.snapshot(t)
		for name, properties := range all {
			now := w.properties(t, name)
			for _, key := range newcomers {
				properties[key] = now[key]
			}
		}
		return all
	}
	before := look()
	if cid := before["new-vm"]["VSockCID"]; cid != uint32(77) {
		t.Fatalf("the CID is %v", cid)
	}
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"restart", func(t *testing.T) { run(t, "systemctl", "restart", theService) }},
		{"to systemd-machined", useStock},
		{"back", useMachd},
		{"restart", func(t *testing.T) { run(t, "systemctl", "restart", theService) }},
	} {
		step.do(t)
		if diff := cmp.Diff(before, look()); diff != "" {
			t.Errorf("%s: machines (-before +after):\n%s", step.name, diff)
		}
	}
	if gone := w.seen(t, "MachineRemoved"); len(gone) > 0 {
		t.Errorf("it was said that %q are gone", gone)
	}
}
