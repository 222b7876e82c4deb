package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// An own is a user with a service manager of his own, and a machine manager
// that it runs.
type own struct {
	user, runtime string
	t             *testing.T
}

func (o own) command(argv ...string) *exec.Cmd {
	prefix := []string{"-u", o.user, "--", "env", "XDG_RUNTIME_DIR=" + o.runtime}
	return exec.Command("runuser", append(prefix, argv...)...)
}

func (o own) run(argv ...string) string {
	o.t.Helper()
	out, err := o.command(argv...).CombinedOutput()
	if err != nil {
		o.t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// listed are the names in a list.
func (o own) listed() (names []string) {
	o.t.Helper()
	for line := range strings.Lines(o.run("machinectl", "--user", "--no-legend", "list")) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func newOwn(t *testing.T, user string) own {
	t.Helper()
	o := own{user: user, runtime: fmt.Sprint("/run/user/", uidOf(t, user)), t: t}
	run(t, "loginctl", "enable-linger", user)
	t.Cleanup(func() { run(t, "loginctl", "disable-linger", user) })
	eventually(t, "the user's bus is there", func() error {
		return o.command("busctl", "--user", "status").Run()
	})
	if live.Host.Machd {
		o.run("systemctl", "--user", "enable", "machd")
		o.run("systemctl", "--user", "restart", "machd.socket", "machd.service")
		t.Cleanup(func() { o.run("systemctl", "--user", "disable", "--now", "machd.socket", "machd.service") })
	}
	return o
}

// Before 259 nothing of systemd's knew machines of a user.
func Test262MachinesOfAUser(t *testing.T) {
	o := newOwn(t, "alice")
	if got := o.listed(); len(got) > 0 {
		t.Fatalf("there are %q", got)
	}
	o.run("systemd-run", "--user", "--unit=own-leader", "sleep", "infinity")
	t.Cleanup(func() { _ = o.command("systemctl", "--user", "stop", "own-leader").Run() })
	leader := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-leader")
	socket := o.runtime + "/systemd/machine/io.systemd.Machine"

	o.run("varlinkctl", "call", socket, "io.systemd.Machine.Register", `{"name":"mine","class":"container","leader":`+leader+`}`)
	if got := o.listed(); len(got) != 1 || got[0] != "mine" {
		t.Errorf("there are %q", got)
	}
	if got := o.run("machinectl", "--user", "show", "-P", "State", "mine"); got != "running" {
		t.Errorf("state %q", got)
	}
	if live.Host.Machd {
		want := strings.Fields(o.run("machinectl", "--user", "--no-legend", "list"))
		if got := strings.Fields(o.run("machctl", "--user", "--no-legend", "list")); !slices.Equal(got, want) {
			t.Errorf("machctl lists %q, machinectl %q", got, want)
		}
	}
	if live.Host.Machd { // 262 takes the service manager for the machine's unit
		if got := o.run("machinectl", "--user", "show", "-P", "Unit", "mine"); got != "own-leader.service" {
			t.Errorf("unit %q", got)
		}
	}
	// What is alice's is neither the system's nor anybody else's.
	if out := run(t, "machinectl", "--no-legend", "list"); strings.Contains(out, "mine") {
		t.Errorf("the system has it too:\n%s", out)
	}
	call := exec.Command("varlinkctl", "call", socket, "io.systemd.Machine.Register", `{"name":"roots","class":"container","leader":`+leader+`}`)
	if out, err := call.CombinedOutput(); err == nil {
		t.Errorf("root could register: %s", out)
	}
	if out, err := exec.Command("runuser", "-u", "bob", "--", "varlinkctl", "call", socket, "io.systemd.Machine.List", `{"name":"mine"}`).CombinedOutput(); err == nil {
		t.Errorf("bob could ask: %s", out)
	}

	if live.Host.Machd {
		o.run("machinectl", "--user", "terminate", "mine")
	} else {
		_ = o.command("systemctl", "--user", "stop", "own-leader").Run()
	}
	eventually(t, "the machine is gone", func() error {
		if got := o.listed(); len(got) > 0 {
			return errors.New(strings.Join(got, " "))
		}
		return nil
	})
	if state, _ := o.command("systemctl", "--user", "is-active", "own-leader").Output(); strings.TrimSpace(string(state)) == "active" {
		t.Error("its unit goes on")
	}
	if state := o.run("systemctl", "--user", "is-system-running"); state != "running" {
		t.Errorf("the user's service manager is %s", state)
	}
}

func Test262AUserCreatesAScope(t *testing.T) {
	o := newOwn(t, "bob")
	o.run("systemd-run", "--user", "--unit=own-leader", "sleep", "infinity")
	t.Cleanup(func() { _ = o.command("systemctl", "--user", "stop", "own-leader").Run() })
	leader := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-leader")
	o.run("busctl", "--user", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager",
		"CreateMachine", "sayssusa(sv)", "made", "0", "tester", "container", leader, "", "0")
	if got := o.run("systemctl", "--user", "is-active", "machine-made.scope"); got != "active" {
		t.Errorf("the scope is %s", got)
	}
	o.run("machinectl", "--user", "terminate", "made")
	eventually(t, "the machine is gone", func() error {
		if got := o.listed(); len(got) > 0 {
			return errors.New(strings.Join(got, " "))
		}
		return nil
	})
}

// Whoever asks has it started, over the bus or over its socket, and it has the
// machines that there were.
func Test262AUsersDaemonIsStartedWhenAsked(t *testing.T) {
	o := newOwn(t, "alice")
	unit := "systemd-machined.service"
	o.run("systemd-run", "--user", "--unit=own-leader", "sleep", "infinity")
	t.Cleanup(func() { _ = o.command("systemctl", "--user", "stop", "own-leader").Run() })
	leader := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-leader")
	socket := o.runtime + "/systemd/machine/io.systemd.Machine"
	o.run("varlinkctl", "call", socket, "io.systemd.Machine.Register", `{"name":"kept","class":"container","leader":`+leader+`}`)

	for _, ask := range [][]string{
		{"busctl", "--user", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
			"org.freedesktop.machine1.Manager", "GetMachine", "s", "kept"},
		{"varlinkctl", "call", socket, "io.systemd.Machine.List", `{"name":"kept"}`},
	} {
		before := o.run("systemctl", "--user", "show", "-P", "MainPID", unit)
		o.run("systemctl", "--user", "stop", unit)
		if got := o.run(ask...); !strings.Contains(got, "kept") {
			t.Errorf("%s says %s", ask[0], got)
		}
		if now := o.run("systemctl", "--user", "show", "-P", "MainPID", unit); now == "0" || now == before {
			t.Errorf("%s: the daemon is process %s, was %s", ask[0], now, before)
		}
	}
	_ = o.command("machctl", "--user", "terminate", "kept").Run()
}

// A container of 65536 IDs that a user made has another user's processes, and
// need not be in a unit of the user's service manager.
func Test262AMachineWithAUsersOwnUserNamespace(t *testing.T) {
	o := newOwn(t, "bob")
	o.run("systemd-run", "--user", "--unit=own-namespace", "unshare", "--user", "sleep", "infinity")
	t.Cleanup(func() { _ = o.command("systemctl", "--user", "stop", "own-namespace").Run() })
	maker := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-namespace")
	eventually(t, "it has a user namespace", func() error {
		now, err := os.Readlink("/proc/" + maker + "/ns/user")
		if own, _ := os.Readlink("/proc/self/ns/user"); now == own {
			return errors.New("not yet")
		}
		return err
	})
	for _, file := range []string{"uid_map", "gid_map"} {
		must(t, os.WriteFile("/proc/"+maker+"/"+file, []byte("0 400000 65536"), 0))
	}
	leader := exec.Command("nsenter", "--target", maker, "--user", "--setuid=0", "--setgid=0", "sleep", "infinity")
	must(t, leader.Start())
	ended := make(chan error, 1)
	go func() { ended <- leader.Wait() }()
	t.Cleanup(func() { _ = leader.Process.Kill() })
	pid := fmt.Sprint(leader.Process.Pid)
	eventually(t, "it is in the namespace", func() error {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err == nil && !strings.Contains(string(status), "Uid:\t400000") {
			err = errors.New("not yet")
		}
		return err
	})

	o.run("varlinkctl", "call", o.runtime+"/systemd/machine/io.systemd.Machine", "io.systemd.Machine.Register",
		`{"name":"mapped","class":"container","leader":`+pid+`}`)
	if got := o.run("machinectl", "--user", "show", "-P", "Leader", "mapped"); got != pid {
		t.Errorf("the leader is %s, want %s", got, pid)
	}
	if got := o.run("busctl", "--user", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1",
		"org.freedesktop.machine1.Manager", "GetMachineUIDShift", "s", "mapped"); got != "u 400000" {
		t.Errorf("the shift is %s", got)
	}
	o.run("systemctl", "--user", "restart", "systemd-machined.service")
	if got := o.listed(); !slices.Contains(got, "mapped") {
		t.Errorf("after a restart there are %q", got)
	}
	o.run("machinectl", "--user", "kill", "--kill-whom=leader", "--signal=KILL", "mapped")
	<-ended
	eventually(t, "the machine is gone", func() error {
		if got := o.listed(); len(got) > 0 {
			return errors.New(strings.Join(got, " "))
		}
		return nil
	})
}
