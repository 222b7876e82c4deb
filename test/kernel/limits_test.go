package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// A property is one of a unit, as the creator of a machine hands it over.
type property struct {
	Name  string
	Value dbus.Variant
}

// Whoever creates a machine limits its scope, and the kernel keeps it there.
func TestTheKernelKeepsAMachineWithinItsLimits(t *testing.T) {
	const name, limit = "limited", 48 << 20
	// What the kernel ends first must not be the leader, with which all would end.
	leader := exec.Command("choom", "--adjust", "-1000", "--", "sleep", "infinity")
	live.Must(t, leader.Start())
	t.Cleanup(func() {
		_ = leader.Process.Kill()
		_ = leader.Wait()
	})
	conn, err := bus.Dial(t.Context(), bus.SystemAddress())
	live.Must(t, err)
	defer conn.Close()
	manager := conn.Object(machine1.BusName, machine1.ObjectPath)
	err = manager.CallWithContext(t.Context(), machine1.ManagerInterface+".CreateMachineWithNetwork", 0,
		name, []byte{}, "tester", "container", uint32(leader.Process.Pid), "", []int32{}, []property{
			{"MemoryMax", dbus.MakeVariant(uint64(limit))},
			{"MemorySwapMax", dbus.MakeVariant(uint64(0))},
			{"TasksMax", dbus.MakeVariant(uint64(7))},
			{"CPUWeight", dbus.MakeVariant(uint64(33))},
		}).Err
	live.Must(t, err)
	t.Cleanup(func() { live.Observe(t, "machinectl", "terminate", name) })

	unit := live.Run(t, "machinectl", "show", "-P", "Unit", name)
	group := live.Run(t, "systemctl", "show", "-P", "ControlGroup", unit)
	if !strings.HasPrefix(group, "/machine.slice/") {
		t.Errorf("the scope is %s", group)
	}
	for _, c := range []struct{ property, file, want string }{
		{"MemoryMax", "memory.max", fmt.Sprint(limit)},
		{"TasksMax", "pids.max", "7"},
		{"CPUWeight", "cpu.weight", "33"},
	} {
		if got := live.Run(t, "systemctl", "show", "-P", c.property, unit); got != c.want {
			t.Errorf("%s of %s is %s, want %s", c.property, unit, got, c.want)
		}
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, c.file))
		if err != nil || strings.TrimSpace(string(got)) != c.want {
			t.Errorf("%s is %q, %v, want %s", c.file, got, err, c.want)
		}
	}
	wantKilled(t, filepath.Join("/sys/fs/cgroup", group), limit)
	if state := live.Run(t, "machinectl", "show", "-P", "State", name); state != "running" {
		t.Errorf("the machine is %s", state)
	}
}

// wantKilled has a process in a cgroup take more memory than it may.
func wantKilled(t *testing.T, group string, limit int) {
	t.Helper()
	greedy := fmt.Sprintf("echo $$ >%s/cgroup.procs && head -c %d /dev/zero | tail -n 1 >/dev/null", group, 2*limit)
	o := live.Observe(t, "sh", "-c", greedy)
	events, err := os.ReadFile(filepath.Join(group, "memory.events"))
	live.Must(t, err)
	if !strings.Contains(string(events), "\noom_kill ") || strings.Contains(string(events), "\noom_kill 0\n") {
		t.Errorf("nobody was killed: the command gave %+v, events are\n%s", o, events)
	}
}
