package booted

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
)

// monitor returns the calls that pass on the bus from now on, as
// "Interface.Member", each time it is called.
func monitor(t *testing.T) func() []string {
	t.Helper()
	conn := dial(t)
	must(t, bus.Call(t.Context(), conn, busDriver, "org.freedesktop.DBus.Monitoring.BecomeMonitor", false,
		[]any{[]string{"type='method_call'"}, uint32(0)}))
	messages := make(chan *dbus.Message, 10_000)
	conn.Eavesdrop(messages)
	return func() []string {
		var calls []string
		for {
			select {
			case m := <-messages:
				calls = append(calls, fmt.Sprintf("%v.%v", m.Headers[dbus.FieldInterface].Value(), m.Headers[dbus.FieldMember].Value()))
			case <-time.After(100 * time.Millisecond):
				return calls
			}
		}
	}
}

// nspawn 262 registers over Varlink, with its payload in a cgroup of its own
// below its unit, and unregisters likewise.
func Test262NspawnRegistersOverVarlink(t *testing.T) {
	w := watch(t)
	const name = "varlink-guest"
	installGuest(t, name)
	calls := monitor(t)
	run(t, "machinectl", "start", name)
	p := w.properties(t, name)
	if p["Unit"] != serviceOf(name) || p["Subgroup"] != "payload" || p["Service"] != "systemd-nspawn" || p["UID"] != uint32(0) {
		t.Errorf("unit %v, subgroup %v, service %v, user %v", p["Unit"], p["Subgroup"], p["Service"], p["UID"])
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%v/comm", p["Supervisor"]))
	if err != nil || strings.TrimSpace(string(comm)) != "systemd-nspawn" {
		t.Errorf("the supervisor %v is %q, %v", p["Supervisor"], comm, err)
	}
	if link, ok := stateFiles(t)["unit:"+serviceOf(name)]; ok {
		t.Errorf("its unit is linked to %s", link)
	}

	// Terminating asks nspawn, which shuts the guest down.
	run(t, "machinectl", "terminate", name)
	w.await(t, "MachineRemoved", name)
	eventually(t, "nspawn ends", unitIs(t, serviceOf(name), "inactive"))
	for _, call := range calls() {
		if strings.Contains(call, "machine1") && strings.Contains(call, "egister") {
			t.Errorf("nspawn called %s", call)
		}
	}
}

// Killing all of a guest that has a cgroup of its own leaves nspawn alive, to
// say how it ended.
func Test262KillReachesThePayloadOnly(t *testing.T) {
	w := watch(t)
	const name = "killed-guest"
	startGuest(t, name)
	run(t, "machinectl", "kill", "--signal=KILL", name)
	w.await(t, "MachineRemoved", name)
	eventually(t, "nspawn ends", func() error {
		state := run(t, "systemctl", "show", "-P", "ActiveState", serviceOf(name))
		if state != "failed" && state != "inactive" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	if got := run(t, "systemctl", "show", "-P", "ExecMainCode", serviceOf(name)); got != "1" { // CLD_EXITED
		t.Errorf("nspawn did not exit by itself: %s", got)
	}
	observe(t, "systemctl", "reset-failed", serviceOf(name))
}

// PID 1 holds the Varlink socket for machd, and starts it when somebody calls.
func TestMachdIsStartedByItsSocket(t *testing.T) {
	w := watch(t)
	register(t, w, "before-stop", startProcess(t, "before-stop"))
	daemon := pid(t)
	run(t, "systemctl", "stop", "machd.service")
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", daemon)); err == nil {
		t.Error("machd is still there")
	}
	reply, err := varlinkCall(t, "root", "io.systemd.Machine.List", `{"name":"before-stop"}`)
	must(t, err)
	if reply["name"] != "before-stop" {
		t.Errorf("the answer is %v", reply)
	}
	if got := run(t, "systemctl", "is-active", "machd.service"); got != "active" {
		t.Errorf("machd.service is %s", got)
	}
}
