package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// startOwn starts a process of a user that does nothing, outside of any unit of
// his own.
func startOwn(t *testing.T, user string) uint32 {
	t.Helper()
	credential, _ := credentialOf(t, user)
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = processAttributes(credential)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return uint32(cmd.Process.Pid)
}

func registerAs(t *testing.T, conn *dbus.Conn, name string, leader uint32) error {
	t.Helper()
	return call(t, conn, "RegisterMachine", []any{name, []byte{}, "tester", "container", leader, ""})
}

const aliceMayRegister = `
polkit.addRule(function(action, subject) {
	if (action.id == "org.freedesktop.machine1.register-machine" && subject.user == "alice") return polkit.Result.YES;
});`

// Who may register a process of his own must get nothing else by it.
func TestNewOwnerIsNotRoot(t *testing.T) {
	w := watch(t)
	alice, bob := dialAs(t, "alice"), dialAs(t, "bob")
	mine, bobs := startOwn(t, "alice"), startOwn(t, "bob")
	wantRefused := func(what string, err error) {
		t.Helper()
		if !refused(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantRefused("without a rule", registerAs(t, alice, "mine", mine))
	setRules(t, aliceMayRegister)
	wantRefused("without a rule for bob", registerAs(t, bob, "bobs", bobs))
	wantRefused("a process of bob", registerAs(t, alice, "mine", bobs))
	wantRefused("a process of root", registerAs(t, alice, "mine", uint32(pid(t))))
	wantError(t, registerAs(t, alice, "mine", 1), machine1.ErrInvalidArgs)
	if got := w.list(t); len(got) > 0 {
		t.Fatalf("there are %q", got)
	}

	must(t, registerAs(t, alice, "mine", mine))
	if got := w.properties(t, "mine")["UID"]; got != uidOf(t, "alice") {
		t.Errorf("its owner is %v", got)
	}
	for _, user := range []string{"root", "alice"} {
		wantRefused("a shell of "+user, call(t, alice, "OpenMachineShell",
			[]any{"mine", user, "/bin/sh", []string{"sh", "-c", "touch /run/owner-was-here"}, []string{}}))
	}
	if live.Host.Machd { // the reference starts one, on the host
		wantRefused("a login", call(t, alice, "OpenMachineLogin", []any{"mine"}))
	}
	for member, args := range map[string][]any{
		"CopyFromMachine":          {"mine", "/etc/shadow", "/tmp/shadow"},
		"BindMountMachine":         {"mine", "/root", "/root", false, false},
		"OpenMachineRootDirectory": {"mine"},
		"GetMachineOSRelease":      {"mine"},
		"CopyToMachine":            {"mine", "/etc/hostname", "/etc/owner-was-here"},
		"CopyToMachineWithFlags":   {"mine", "/etc/hostname", "/etc/owner-was-here", uint64(1)},
		"CopyFromMachineWithFlags": {"mine", "/etc/shadow", "/tmp/shadow", uint64(1)},
	} {
		wantRefused("alice's "+member, call(t, alice, member, args))
	}
	for _, path := range []string{"/run/owner-was-here", "/etc/owner-was-here", "/tmp/shadow"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("there is %s", path)
		}
	}
	wantRefused("bob's terminate", call(t, bob, "TerminateMachine", []any{"mine"}))
	wantRefused("bob's kill", call(t, bob, "KillMachine", []any{"mine", "leader", int32(9)}))
	wantRefused("bob's unregister", call(t, bob, "UnregisterMachine", []any{"mine"}))

	must(t, call(t, alice, "KillMachine", []any{"mine", "leader", int32(18)}))
	must(t, call(t, alice, "UnregisterMachine", []any{"mine"}))
	w.await(t, "MachineRemoved", "mine")
}

// Looking at the machines of others needs no right, but for what is read inside.
func TestUsersMayLook(t *testing.T) {
	w := watch(t)
	startGuest(t, "looked-at")
	alice := dialAs(t, "alice")
	for member, args := range map[string][]any{
		"ListMachines": nil, "ListImages": nil, "GetMachine": {"looked-at"}, "GetMachineAddresses": {"looked-at"},
		"GetMachineUIDShift": {"looked-at"}, "GetMachineByPID": {w.properties(t, "looked-at")["Leader"]},
	} {
		if err := call(t, alice, member, args); err != nil {
			t.Errorf("%s: %v", member, err)
		}
	}
	// 261 asks polkit for what 257 gives to everybody. So does machd.
	err := call(t, alice, "GetMachineOSRelease", []any{"looked-at"})
	if asked := live.Host.Machd || live.Host.Version >= 261; refused(err) != asked {
		t.Errorf("GetMachineOSRelease: %v", err)
	}
}

// A user's process may run in a unit that is not his, beside processes of root.
func TestMachdOwnerDoesNotStopUnitsOfOthers(t *testing.T) {
	setRules(t, aliceMayRegister)
	const unit = "of-root.service"
	run(t, "systemd-run", "-q", "--collect", "--unit="+unit, "sh", "-c",
		"setpriv --reuid=alice --regid=alice --clear-groups sleep infinity & exec sleep infinity")
	t.Cleanup(func() { observe(t, "systemctl", "stop", unit) })
	leader := ""
	eventually(t, "alice has a process in it", func() error {
		leader = strings.TrimSpace(observe(t, "pgrep", "-u", "alice", "-x", "sleep").Stdout)
		_, err := strconv.Atoi(leader)
		return err
	})
	alice, w := dialAs(t, "alice"), watch(t)
	// By a process that ends: as the one who registered it, we would be told to
	// end the machine.
	run(t, append(asUser("alice"), "busctl", "call", machine1.BusName, string(machine1.ObjectPath), machine1.ManagerInterface,
		"RegisterMachine", "sayssus", "of-root", "0", "tester", "container", leader, "")...)
	for _, c := range []struct {
		member string
		args   []any
	}{{"KillMachine", []any{"of-root", "all", int32(15)}}, {"TerminateMachine", []any{"of-root"}}} {
		err := call(t, alice, c.member, c.args)
		if problem := unitIs(t, unit, "active")(); problem != nil {
			t.Fatalf("%s: %v, %v", c.member, err, problem)
		}
	}
	w.await(t, "MachineRemoved", "of-root")
}

// A user at the host's seat may register what is his without a rule, and ends
// it when he likes.
func TestNewRegisteringNeedsASession(t *testing.T) {
	alice := startSession(t, "alice")
	w := watch(t)
	const script = `sleep infinity >/dev/null 2>&1 & busctl call org.freedesktop.machine1 /org/freedesktop/machine1 \
		org.freedesktop.machine1.Manager RegisterMachine sayssus $0 0 tester container $! ""; code=$?; echo $!; exit $code`

	o := observe(t, append(asUser("alice"), "sh", "-c", script, "from-nowhere")...)
	kill(t, lastLine(o.Stdout))
	if o.Code == 0 || !strings.Contains(strings.ToLower(o.Stderr), "interactive authentication") {
		t.Errorf("without a session: %+v", o)
	}
	o = observe(t, alice.argv("sh", "-c", script, "at-the-seat")...)
	if o.Code != 0 {
		t.Fatalf("in a session: %+v", o)
	}
	w.await(t, "MachineNew", "at-the-seat")
	run(t, alice.argv("busctl", "call", machine1.BusName, string(machine1.ObjectPath), machine1.ManagerInterface,
		"UnregisterMachine", "s", "at-the-seat")...)
	kill(t, lastLine(o.Stdout))
	w.await(t, "MachineRemoved", "at-the-seat")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func kill(t *testing.T, pid string) {
	t.Helper()
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatal(errors.Join(fmt.Errorf("%q is no process", pid), err))
	}
	run(t, "kill", "-9", pid)
}
