package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// execGuests are the kinds of machines that commands run in.
var execGuests = []struct {
	name  string
	start func(t *testing.T, name string)
}{
	{"exec-systemd", startGuest},
	{"exec-systemd-ids", startGuestWithHostIDs},
	{"exec-bare", startBare()},
	{"exec-bare-ids", startBare("--private-users=pick", "--private-users-ownership=auto")},
	{"exec-stub-init", startBare("--as-pid2")},
}

// startGuestWithHostIDs starts a guest whose root is the host's.
func startGuestWithHostIDs(t *testing.T, name string) {
	t.Helper()
	installGuest(t, name)
	must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Exec]\nNotifyReady=yes\nPrivateUsers=no\n"), 0o644))
	run(t, "machinectl", "start", name)
}

// startBare starts a container without systemd.
func startBare(options ...string) func(*testing.T, string) {
	return func(t *testing.T, name string) {
		t.Helper()
		startByHand(t, watch(t), name, options...)
	}
}

// What a script on the host sees of a command in a machine, whatever runs there.
func TestMachdExecIsAsACommandOfTheHost(t *testing.T) {
	t.Parallel()
	for _, guest := range execGuests {
		t.Run(guest.name, func(t *testing.T) {
			t.Parallel()
			guest.start(t, guest.name)
			before := execLeft(t, guest.name)
			wantScripts(t, guest.name)
			wantTerminal(t, guest.name)
			eventually(t, "nothing is left", func() error {
				if after := execLeft(t, guest.name); after != before {
					return fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
				return nil
			})
		})
	}
}

// execLeft tells what commands could leave behind: their cgroups, with whatever
// runs there, and what the daemon remembers of them.
func execLeft(t *testing.T, name string) string {
	t.Helper()
	unit := run(t, "machctl", "show", "-P", "Unit", name)
	group := run(t, "systemctl", "show", "-P", "ControlGroup", unit)
	leader := run(t, "machctl", "show", "-P", "Leader", name)
	return run(t, "sh", "-c", `find "/sys/fs/cgroup$1" -type d | grep -F machd-exec
		ls /run/machd/exec 2>/dev/null | grep "^$2-"
		true`, "sh", group, leader)
}

// execScripts are run by a shell of the host; $M is the machine.
var execScripts = []struct {
	script string
	status int
	out    string
}{
	{`machctl exec $M -- sh -c 'echo out; echo err >&2; exit 7' 2>err`, 7, "out\n"},
	{`machctl exec $M -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null`, 0, "err\n"},
	{`head -c 5000000 /dev/urandom >in.$M; cat in.$M | machctl exec $M -- cat | cmp - in.$M`, 0, ""},
	{`machctl exec $M -- cat <in.$M >out.$M; cmp out.$M in.$M`, 0, ""},
	{`printf 'a\0b\r\n\004\377' | machctl exec $M cat | od -An -c | tr -s ' '`, 0, " a \\0 b \\r \\n 004 377\n"},
	{`machctl exec $M -- true </dev/null | wc -c`, 0, "0\n"},
	{`seq 100000 | machctl exec $M -- head -n 1`, 0, "1\n"},
	{`machctl exec $M -- sh -c 'yes | head -c 3000000' | wc -c`, 0, "3000000\n"},
	{`machctl exec $M -- yes | head -n 1`, 0, "y\n"},
	{`machctl exec $M -- sh -c 'cat; echo $?' <&-`, 0, "0\n"},
	{`machctl exec $M -- sh -c 'echo one >/dev/stderr' 2>&1 | cat`, 0, "one\n"},
	{`echo two | machctl exec $M -- sh -c 'cat /dev/stdin >/dev/stdout' | cat`, 0, "two\n"},
	{`for n in 1 2 3; do machctl exec $M -- echo $n; done`, 0, "1\n2\n3\n"},
	{`printf '1\n2\n' | while read n; do machctl exec $M -- echo $n </dev/null; done`, 0, "1\n2\n"},
	{`machctl exec $M -- /no/such 2>err; code=$?; grep -c '/no/such' err; exit $code`, 127, "1\n"},
	{`machctl exec $M -- nosuch 2>err; code=$?; grep -c '"nosuch"' err; exit $code`, 127, "1\n"},
	{`machctl exec $M -- /etc 2>err; code=$?; grep -c '/etc' err; exit $code`, 126, "1\n"},
	{`machctl exec $M -- sh -c 'kill -KILL $$'`, 137, ""},
	{`machctl exec $M -- sh -c 'kill -TERM $$'`, 143, ""},
	{`machctl exec $M -- sh -c 'exit 255'`, 255, ""},
	{`machctl exec -u nosuch $M -- true 2>err; code=$?; grep -c nosuch err; exit $code`, 125, "1\n"},
	{`machctl exec -w /no/such $M -- true 2>err; code=$?; grep -c /no/such err; exit $code`, 125, "1\n"},
	{`machctl exec -u nobody -w /usr -e A='$x  %n' $M -- sh -c 'id -un; pwd; printf "%s\n" "$A"'`, 0, "nobody\n/usr\n$x  %n\n"},
	{`machctl exec $M -- true </ 2>err; code=$?; grep -c 'is a directory' err; exit $code`, 125, "1\n"},
	{`machctl exec $M -- sh -c 'tty; exit 3' <in.$M`, 3, "not a tty\n"},
	{`machctl -q shell $M /bin/sh -c 'exit 7'`, 7, ""},
	{`machctl -q shell $M /bin/sh -c 'kill -KILL $$'`, 137, ""},
	{`machctl -q shell $M /no/such 2>err; code=$?; grep -c /no/such err; exit $code`, 127, "1\n"},
}

func wantScripts(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	for _, test := range execScripts {
		start := time.Now()
		got := observe(t, "sh", "-c", `cd "$0" && M="$1" && `+test.script, dir, name)
		if got.Code != test.status || got.Stdout != test.out {
			t.Errorf("%s: exit status %d, want %d; %q, want %q\n%s", test.script, got.Code, test.status, got.Stdout, test.out, got.Stderr)
		}
		if took := time.Since(start); took > shellLimit {
			t.Errorf("%s took %v", test.script, took)
		}
	}
}

func wantTerminal(t *testing.T, name string) {
	t.Helper()
	term := openTerminal(t, "machctl", "exec", "-t", name, "--", "sh", "-c", "tty; stty size; echo TERM=$TERM; read line; echo got $line; exit 5")
	talk(t, term, [2]string{`/dev/pts/\d+\n40 120\nTERM=xterm\n`, "words\n"}, [2]string{`got words\n`, ""})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("it ended with %v, want exit status 5", err)
	}
	// A dash that starts cat as a process of its own may lose the signal.
	for range 5 {
		term = openTerminal(t, "machctl", "exec", "-t", name, "--", "sh", "-c", "echo ready; exec cat")
		talk(t, term, [2]string{`ready\n`, "\x03"})
		if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 130") {
			t.Fatalf("^C ended it with %v, want exit status 130; processes:\n%s", err, run(t, "ps", "-eo", "pid,ppid,pgid,tpgid,sid,tty,stat,wchan,args"))
		}
	}
	// Here there is a terminal, and the command has none of it.
	term = openTerminal(t, "machctl", "exec", name, "--", "sh", "-c", "tty; tty <&1; tty <&2; wc -c")
	talk(t, term, [2]string{`not a tty\nnot a tty\nnot a tty\n0\n`, ""})
	must(t, term.Wait())
	term = openTerminal(t, "machctl", "exec", "-i", name, "--", "sh", "-c", "read line; echo got $line")
	talk(t, term, [2]string{``, "words\n"}, [2]string{`got words\n`, ""})
	must(t, term.Wait())
}

// A command ends with machctl, whatever becomes of that, and nothing is left.
func TestMachdExecEndsWithMachctl(t *testing.T) {
	t.Parallel()
	for i, guest := range execGuests {
		name := strings.Replace(guest.name, "exec-", "exec-ends-", 1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guest.start(t, name)
			wantEndsWithMachctl(t, name, fmt.Sprint(271800+i))
		})
	}
}

// wantEndsWithMachctl has machctl, with the options there are, run in the machine
// what sleeps for so many seconds, which nobody else does, and end by signals.
func wantEndsWithMachctl(t *testing.T, name, seconds string, options ...string) {
	t.Helper()
	before := execLeft(t, name)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		cmd := exec.Command("machctl", append(options, "exec", name, "--", "sh", "-c", "setsid sleep "+seconds+" & exec sleep "+seconds)...)
		must(t, cmd.Start())
		eventually(t, "the command runs", wantSleepers(seconds, 2))
		must(t, cmd.Process.Signal(signal))
		_ = cmd.Wait()
		if signal != syscall.SIGKILL && cmd.ProcessState.ExitCode() != 128+int(signal) {
			t.Errorf("%v: %v, want exit status %d", signal, cmd.ProcessState, 128+int(signal))
		}
		eventually(t, "the command has ended after "+signal.String(), wantSleepers(seconds, 0))
	}
	eventually(t, "nothing is left", func() error {
		if after := execLeft(t, name); after != before {
			return fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		return nil
	})
}

// Where no command can be run, machctl says why, soon, and exits with 125.
func TestMachdExecThatCannotBe(t *testing.T) {
	t.Parallel()
	const name = "exec-cannot"
	startGuest(t, name)
	want := func(says string, argv ...string) {
		t.Helper()
		start := time.Now()
		got := observe(t, argv...)
		if got.Code != 125 || !strings.Contains(got.Stderr, says) || !strings.HasPrefix(got.Stderr, "machctl: ") {
			t.Errorf("%q: exit status %d, want 125 and %q\n%s", argv, got.Code, says, got.Stderr)
		}
		if took := time.Since(start); took > shellLimit {
			t.Errorf("%q took %v", argv, took)
		}
	}
	want(`"exec-nosuch"`, "machctl", "exec", "exec-nosuch", "--", "true")
	want("there is no command", "machctl", "exec", name, "--")
	want("options go before NAME", "machctl", "exec", name, "-t", "sh")
	want("org.machd.exec", append(asUser("alice"), "machctl", "exec", "--no-ask-password", name, "--", "true")...)

	leader := run(t, "machinectl", "show", name, "-P", "Leader")
	run(t, "kill", "-STOP", leader)
	t.Cleanup(func() { observe(t, "kill", "-CONT", leader) })
	want("does not answer", "machctl", "exec", name, "--", "true")
	run(t, "kill", "-CONT", leader)
	eventually(t, "it answers again", func() error {
		if got := observe(t, "machctl", "exec", name, "true"); got.Code != 0 {
			return fmt.Errorf("%s", got.Stderr)
		}
		return nil
	})
}

// The end of the machine is the end of its commands, and no status of theirs.
func TestMachdExecInAMachineThatEnds(t *testing.T) {
	t.Parallel()
	for _, guest := range execGuests {
		name := strings.Replace(guest.name, "exec-", "exec-gone-", 1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guest.start(t, name)
			cmd := exec.Command("machctl", "exec", name, "--", "sh", "-c", "echo ready; exec sleep 100000")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			if _, err := out.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			run(t, "machinectl", "terminate", name)
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case <-ended:
			case <-time.After(patience):
				cmd.Process.Kill()
				t.Fatal("machctl goes on")
			}
			// Its own end by the machine's init is one that can be told.
			switch code := cmd.ProcessState.ExitCode(); {
			case code == 143, code == 137, code == 129:
			case code == 125 && strings.Contains(stderr.String(), "machctl: "):
			default:
				t.Errorf("%v: %q", cmd.ProcessState, stderr.String())
			}
		})
	}
}
