package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// shellLimit is how long a shell that cannot be had may take to say so: five
// seconds, and a slow machine's start of the client.
const shellLimit = 15 * time.Second

// A refusedShell is a shell that cannot be had, and what its user must read.
type refusedShell struct {
	words []string // after "shell"
	says  string
	code  int // of machctl, which has commands' own; 0 is machinectl's, 1
}

// wantRefused lets clients ask for each shell.
func wantRefused(t *testing.T, clients []string, shells []refusedShell) {
	t.Helper()
	for _, client := range clients {
		for _, s := range shells {
			start := time.Now()
			got := observe(t, append([]string{client, "shell"}, s.words...)...)
			code := 1
			if client == "machctl" {
				code = s.code
			}
			if got.Code != code || !strings.Contains(got.Stderr, s.says) {
				t.Errorf("%s shell %q: exit status %d, want %d and %q\n%s%s", client, s.words, got.Code, code, s.says, got.Stdout, got.Stderr)
			}
			if took := time.Since(start); took > shellLimit {
				t.Errorf("%s shell %q took %v", client, s.words, took)
			}
		}
	}
}

func TestShellOfNoPathIsRefused(t *testing.T) {
	t.Parallel()
	const name = "shell-path"
	startGuest(t, name)
	wantRefused(t, []string{"machinectl"}, []refusedShell{
		{[]string{name, "relative/path"}, "Specified path 'relative/path' is not absolute", 0},
		{[]string{".host", "relative/path"}, "Specified path 'relative/path' is not absolute", 0},
	})
}

// systemd-machined hands out a terminal on which nothing happens.
func TestMachdShellThatCannotBegin(t *testing.T) {
	t.Parallel()
	const name = "shell-fails"
	startGuest(t, name)
	where := "in machine " + name
	wantRefused(t, []string{"machinectl", "machctl"}, []refusedShell{
		{[]string{"nosuch@" + name}, `no user "nosuch" ` + where, 125},
		{[]string{"nosuch@" + name, "/bin/true"}, `no user "nosuch" ` + where, 125},
		{[]string{"54321@" + name, "/bin/true"}, `no user "54321" ` + where, 125},
		{[]string{name, "/no/such"}, `Cannot run "/no/such" ` + where, 127},
		{[]string{name, "/etc"}, `Cannot run "/etc" ` + where, 126},
		{[]string{name, "/etc/passwd"}, `Cannot run "/etc/passwd" ` + where, 126},
		{[]string{"nosuch@.host", "/bin/true"}, `no user "nosuch" on this host`, 125},
		{[]string{".host", "/no/such"}, `Cannot run "/no/such" on this host`, 127},
	})
	wantRefused(t, []string{"machctl"}, []refusedShell{{[]string{name, "relative/path"}, `Cannot run "relative/path" ` + where, 127}})
	// As other distributions have it.
	run(t, "systemd-run", "-q", "-M", name, "--wait", "sh", "-c",
		"echo account requisite pam_nologin.so >>/etc/pam.d/login; touch /run/nologin")
	wantRefused(t, []string{"machinectl"}, []refusedShell{
		{[]string{"nobody@" + name, "/bin/true"}, `User "nobody" may not log in ` + where, 0},
	})
	w := watch(t)
	err := w.call(t, "OpenMachineShell", []any{name, "nosuch", "/bin/true", []string{}, []string{}})
	wantError(t, err, machine1.ErrInvalidArgs)
	if units := run(t, "systemctl", "-M", name, "list-units", "--all", "--no-legend", "container-shell@*"); units != "" {
		t.Errorf("units are left in the machine:\n%s", units)
	}
}

// Users need not be in the machine's list of users.
func TestShellOfUserOfAnotherSource(t *testing.T) {
	t.Parallel()
	const name = "shell-nss"
	startGuest(t, name)
	run(t, "systemd-run", "-q", "-M", name, "--wait", "sh", "-c", `mkdir -p /etc/userdb && cd /etc/userdb &&
		echo '{"userName":"lena","uid":4711,"gid":100,"homeDirectory":"/","shell":"/bin/sh"}' >lena.user && ln -s lena.user 4711.user`)
	// The second program's status is the one of a user who is not known.
	for _, program := range [][]string{{"/usr/bin/id", "-un"}, {"/bin/sh", "-c", "id -un; exit 217"}} {
		shell := openTerminal(t, append([]string{"machinectl", "shell", "lena@" + name}, program...)...)
		if _, err := shell.Expect(`\nlena\n`); err != nil {
			t.Errorf("%q: %v", program, err)
		}
		must(t, shell.Wait())
	}
}

// A program that asks for the terminal's size gets the user's.
func TestShellHasTheTerminalsSize(t *testing.T) {
	t.Parallel()
	const name = "shell-size"
	startGuest(t, name)
	shell := openTerminal(t, "machinectl", "shell", name, "/bin/stty", "size")
	if _, err := shell.Expect(`\n40 120\n`); err != nil {
		t.Error(err)
	}
	must(t, shell.Wait())
}

func TestShellWithoutBus(t *testing.T) {
	t.Parallel()
	const name = "shell-appc"
	startByHand(t, watch(t), name)
	const cause = "There is no system bus in container " + name + "."
	wantRefused(t, []string{"machinectl"}, []refusedShell{{[]string{name, "/bin/echo", "hi"}, cause, 0}})
	if got := observe(t, "machinectl", "login", name); got.Code != 1 || !strings.Contains(got.Stderr, cause) {
		t.Errorf("machinectl login: exit status %d, want 1 and %q\n%s", got.Code, cause, got.Stderr)
	}
}

// What machctl's user reads there names what works instead, and that works.
func TestMachdLoginWithoutBusNamesTheWayIn(t *testing.T) {
	t.Parallel()
	const name = "shell-wayin"
	startByHand(t, watch(t), name)
	// A login is for terminals.
	got := observe(t, "script", "-qec", "machctl login "+name, "/dev/null")
	_, hint, ok := strings.Cut(got.Stdout, `; "`)
	command, _, _ := strings.Cut(hint, `"`)
	if got.Code != 1 || !strings.Contains(got.Stdout, "no system bus in container "+name) || !ok {
		t.Fatalf("machctl login: exit status %d\n%s", got.Code, got.Stdout)
	}
	shell := openTerminal(t, strings.Fields(command)...)
	talk(t, shell, [2]string{`# `, "echo $((6 * 7)); exit 3\n"}, [2]string{`\n42\n`, ""})
	if err := shell.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%s ended with %v, want exit status 3", command, err)
	}
}

// A machine whose first process is stopped is said to be silent, soon.
func TestMachdShellOfStoppedMachine(t *testing.T) {
	t.Parallel()
	const name = "shell-stopped"
	startGuest(t, name)
	leader := run(t, "machinectl", "show", name, "-P", "Leader")
	run(t, "kill", "-STOP", leader)
	t.Cleanup(func() { observe(t, "kill", "-CONT", leader) })
	t.Run("clients", func(t *testing.T) {
		for _, argv := range [][]string{
			{"machinectl", "shell", name}, {"machctl", "shell", name}, {"machinectl", "login", name},
			{"machinectl", "shell", "nosuch@" + name, "/bin/true"},
		} {
			t.Run(strings.Join(argv, " "), func(t *testing.T) {
				t.Parallel()
				wantSilent(t, argv)
			})
		}
	})
	run(t, "kill", "-CONT", leader)
	if got := observe(t, "machinectl", "shell", name, "/bin/echo", "there"); !strings.Contains(got.Stdout, "there") {
		t.Errorf("afterwards: exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
}

func wantSilent(t *testing.T, argv []string) {
	t.Helper()
	start := time.Now()
	got := observe(t, argv...)
	if got.Code == 0 || !strings.Contains(got.Stderr, "does not answer") {
		t.Errorf("exit status %d\n%s", got.Code, got.Stderr)
	}
	if took := time.Since(start); took > shellLimit {
		t.Errorf("it took %v", took)
	}
}

// While a machine boots, the message says that it may.
func TestMachdShellOfBootingMachine(t *testing.T) {
	t.Parallel()
	const name = "shell-boots"
	installGuest(t, name)
	must(t, os.Remove(filepath.Join(settings, name+".nspawn"))) // or the start would wait
	// systemd listens at the bus's socket, and the bus has not been started.
	units := filepath.Join(guests, name, "etc/systemd/system")
	must(t, os.MkdirAll(filepath.Join(units, "basic.target.wants"), 0o755))
	must(t, os.WriteFile(filepath.Join(units, "slow.service"), []byte("[Unit]\nDefaultDependencies=no\nBefore=basic.target\nAfter=sockets.target\n"+
		"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'until test -e /root/go; do sleep 0.1; done'\n"), 0o644))
	must(t, os.Symlink("../slow.service", filepath.Join(units, "basic.target.wants/slow.service")))
	run(t, "machinectl", "start", name)
	ask := func() outcome { return observe(t, "machinectl", "shell", name, "/bin/echo", "there") }
	eventually(t, "the bus's socket is there", func() error {
		start := time.Now()
		got := ask()
		if took := time.Since(start); took > shellLimit {
			t.Errorf("it took %v", took)
		}
		if strings.Contains(got.Stderr, "no system bus") {
			return fmt.Errorf("%s", got.Stderr)
		}
		if got.Code != 1 || !strings.Contains(got.Stderr, "may still be booting") {
			t.Errorf("exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
		}
		return nil
	})
	must(t, os.WriteFile(filepath.Join(guests, name, "root/go"), nil, 0o644))
	eventually(t, "it has booted", func() error {
		if got := ask(); !strings.Contains(got.Stdout, "there") {
			return fmt.Errorf("%s", got.Stderr)
		}
		return nil
	})
}
