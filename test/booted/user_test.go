package booted

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/test/live"
)

// An own is a user with a machine manager of his own, in one test.
type own struct {
	live.User
	t *testing.T
}

func newOwn(t *testing.T, user string) own {
	t.Helper()
	return own{live.NewUser(t, user), t}
}

func (o own) run(argv ...string) string {
	o.t.Helper()
	return o.Run(o.t, argv...)
}

// listed are the names in the user's list.
func (o own) listed() []string {
	o.t.Helper()
	return live.Names(o.run("machinectl", "--user", "--no-legend", "list"))
}

// Before 259 nothing of systemd's knew machines of a user.
func Test262MachinesOfAUser(t *testing.T) {
	o := newOwn(t, "alice")
	if got := o.listed(); len(got) > 0 {
		t.Fatalf("there are %q", got)
	}
	o.run("systemd-run", "--user", "--unit=own-leader", "sleep", "infinity")
	t.Cleanup(func() { _ = o.Command("systemctl", "--user", "stop", "own-leader").Run() })
	leader := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-leader")
	socket := o.Runtime + "/systemd/machine/io.systemd.Machine"

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
		_ = o.Command("systemctl", "--user", "stop", "own-leader").Run()
	}
	eventually(t, "the machine is gone", func() error {
		if got := o.listed(); len(got) > 0 {
			return errors.New(strings.Join(got, " "))
		}
		return nil
	})
	if state, _ := o.Command("systemctl", "--user", "is-active", "own-leader").Output(); strings.TrimSpace(string(state)) == "active" {
		t.Error("its unit goes on")
	}
	if state := o.run("systemctl", "--user", "is-system-running"); state != "running" {
		t.Errorf("the user's service manager is %s", state)
	}
}

func Test262AUserCreatesAScope(t *testing.T) {
	o := newOwn(t, "bob")
	o.run("systemd-run", "--user", "--unit=own-leader", "sleep", "infinity")
	t.Cleanup(func() { _ = o.Command("systemctl", "--user", "stop", "own-leader").Run() })
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
	t.Cleanup(func() { _ = o.Command("systemctl", "--user", "stop", "own-leader").Run() })
	leader := o.run("systemctl", "--user", "show", "-P", "MainPID", "own-leader")
	socket := o.Runtime + "/systemd/machine/io.systemd.Machine"
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
	_ = o.Command("machctl", "--user", "terminate", "kept").Run()
}

// ownBase is the first of a user's 65536 IDs.
const ownBase = 400000

// userNamespace makes a user namespace of the IDs from ownBase on, and returns
// the process of a unit that keeps it.
func (o own) userNamespace(unit string) (maker string) {
	o.t.Helper()
	o.run("systemd-run", "--user", "--collect", "--unit="+unit, "unshare", "--user", "sleep", "infinity")
	o.t.Cleanup(func() { _ = o.Command("systemctl", "--user", "stop", unit).Run() })
	maker = o.run("systemctl", "--user", "show", "-P", "MainPID", unit)
	eventually(o.t, "it has a user namespace", func() error {
		now, err := os.Readlink("/proc/" + maker + "/ns/user")
		if own, _ := os.Readlink("/proc/self/ns/user"); now == own {
			return errors.New("not yet")
		}
		return err
	})
	for _, file := range []string{"uid_map", "gid_map"} {
		must(o.t, os.WriteFile("/proc/"+maker+"/"+file, fmt.Appendf(nil, "0 %d 65536", ownBase), 0))
	}
	return maker
}

// register registers a process as a machine of the user's.
func (o own) register(name, pid string) {
	o.t.Helper()
	o.run("varlinkctl", "call", o.Runtime+"/systemd/machine/io.systemd.Machine", "io.systemd.Machine.Register",
		`{"name":"`+name+`","class":"container","leader":`+pid+`}`)
}

// A container of 65536 IDs that a user made has another user's processes, and
// need not be in a unit of the user's service manager.
func Test262AMachineWithAUsersOwnUserNamespace(t *testing.T) {
	o := newOwn(t, "bob")
	maker := o.userNamespace("own-namespace")
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

	o.register("mapped", pid)
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

// A terminal belongs to the machine's root, whom the user cannot be on the host.
func Test262ATerminalOfAMachineWithAUsersOwnUserNamespace(t *testing.T) {
	o := newOwn(t, "alice")
	maker := o.userNamespace("own-terminals")
	leader := exec.Command("nsenter", "--target", maker, "--user", "--setuid=0", "--setgid=0", "unshare", "--mount", "sh", "-c",
		"mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /dev/pts && echo ready && exec sleep infinity")
	ready, err := leader.StdoutPipe()
	must(t, err)
	must(t, leader.Start())
	t.Cleanup(func() { _ = leader.Process.Kill(); _ = leader.Wait() })
	_, err = bufio.NewReader(ready).ReadString('\n')
	must(t, err)
	pid := fmt.Sprint(leader.Process.Pid)
	o.register("terminals", pid)

	var fd dbus.UnixFD
	var tty string
	conn := dialBusAs(t, o.Name, o.Runtime+"/bus")
	must(t, call(t, conn, "OpenMachinePTY", []any{"terminals"}, &fd, &tty))
	master := os.NewFile(uintptr(fd), "master")
	defer master.Close()
	inside := []string{"nsenter", "--target", pid, "--user", "--mount", "--setuid=0", "--setgid=0"}
	if got := run(t, append(inside, "stat", "-c", "%u:%g", tty)...); got != "0:5" {
		t.Errorf("%s belongs to %s inside, want 0:5", tty, got)
	}
	run(t, append(inside, "sh", "-c", "echo from inside >"+tty)...)
	line, err := bufio.NewReader(master).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "from inside" {
		t.Errorf("read %q, %v", line, err)
	}
}
