package booted

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
)

func TestRegisteredMachineIsListedAndShownUntilItsProcessEnds(t *testing.T) {
	t.Parallel()
	const name = "reg-shown"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	w.await(t, "MachineNew", name)

	var row string
	for line := range strings.Lines(run(t, "machinectl", "--no-legend", "list")) {
		if strings.HasPrefix(line, name+" ") {
			row = strings.Join(strings.Fields(line), " ")
		}
	}
	if !strings.HasPrefix(row, name+" container tester ") {
		t.Errorf("the list has %q", row)
	}
	got := run(t, "machinectl", "show", name, "-p", "Name", "-p", "Service", "-p", "Unit", "-p", "Leader",
		"-p", "Class", "-p", "State", "-p", "RootDirectory")
	want := fmt.Sprintf("Name=%s\nService=tester\nUnit=%s\nLeader=%d\nClass=container\nRootDirectory=/\nState=running", name, p.unit, p.pid)
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("machinectl show (-want +got):\n%s", diff)
	}

	run(t, "systemctl", "stop", p.unit)
	w.await(t, "MachineRemoved", name)
	wantError(t, w.call(t, "GetMachine", []any{name}), machine1.ErrNoSuchMachine)
}

func sorted(lines string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(lines + "\n") {
		set[line] = true
	}
	return set
}

func TestLibsystemdReadsTheMachine(t *testing.T) {
	t.Parallel()
	const name = "reg-state"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	// ps asks sd_pid_get_machine_name, which reads /run/systemd/machines.
	if got := strings.TrimSpace(run(t, "ps", "-o", "machine=", "-p", strconv.Itoa(p.pid))); got != name {
		t.Errorf("ps finds the machine %q, want %q", got, name)
	}
}

func TestTwoMachinesCannotHaveOneName(t *testing.T) {
	t.Parallel()
	const name = "reg-twice"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	other := startProcess(t, name+"-other")
	err := w.call(t, "RegisterMachine", []any{name, []byte{}, "tester", "container", uint32(other.pid), "/"})
	wantError(t, err, machine1.ErrMachineExists)
}

func TestTerminateEndsTheUnit(t *testing.T) {
	t.Parallel()
	const name = "reg-terminate"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	run(t, "machinectl", "terminate", name)
	w.await(t, "MachineRemoved", name)
}

func TestUnregisterKeepsTheProcess(t *testing.T) {
	t.Parallel()
	const name = "reg-unregister"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	must(t, w.call(t, "UnregisterMachine", []any{name}))
	w.await(t, "MachineRemoved", name)
	if got := run(t, "systemctl", "is-active", p.unit); got != "active" {
		t.Errorf("the process's unit is %s", got)
	}
}
