package booted

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/test/live"
)

// onPipes runs machctl run and returns what came out, apart.
func onPipes(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("machctl", append([]string{"run"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// leftOf returns what a machine that is thrown away could leave.
func leftOf(name string) (left []string) {
	for _, pattern := range []string{
		guests + "/.#machd-*" + name + "*", "/run/machd/starts/" + name, "/run/systemd/nspawn/unix-export/" + name,
		"/run/systemd/nspawn/" + name, "/run/systemd/nspawn/propagate/" + name, "/run/systemd/machines/" + name,
		"/sys/fs/cgroup/machine.slice/machine-" + strings.ReplaceAll(name, "-", `\x2d`) + ".service",
	} {
		// The backslash is the name's, not the pattern's.
		paths, _ := filepath.Glob(strings.ReplaceAll(pattern, `\`, `\\`))
		left = append(left, paths...)
	}
	units, _ := exec.Command("systemctl", "list-units", "--type=service,scope", "--all", "--plain", "--no-legend", "*"+strings.ReplaceAll(name, "-", "?x2d")+"*").Output()
	if len(units) > 0 {
		left = append(left, strings.TrimSpace(string(units)))
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, name) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left
}

func wantNothingLeft(t *testing.T, name string) {
	t.Helper()
	if left := leftOf(name); len(left) > 0 {
		t.Errorf("%s has left:\n%s", name, strings.Join(left, "\n"))
	}
}

// A command has its own files, apart, with whatever bytes are in them, and its
// own exit status.
func TestMachdRunIsLikeTheCommandItself(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		image, script  string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{"tiny", "cat; echo err >&2; exit 7", "a\x00b\r\n\xff", "a\x00b\r\n\xff", "err\n", 7},
		{"tiny", "exit 0", "", "", "", 0},
		{"tiny", "exit 133", "", "", "", 133},
		{"tiny", "exit 255", "", "", "", 255},
		{"tiny", "kill -9 $$", "", "", "", 137},
		{"tiny", "kill -TERM $$", "", "", "", 143},
		{"c8-ns", `echo "$0 $HOME a$$" | tr -d 0-9; id -u`, "", "sh /root a\n0\n", "", 0},
		{"c8-ns", "touch /usr/bin/new && rm -rf /etc/apt && mv /var/lib /var/lib2 && ls /var/lib2/dpkg/status", "", "/var/lib2/dpkg/status\n", "", 0},
	} {
		name := fmt.Sprintf("run-like-%d", i)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := onPipes(t, c.stdin, "--name", name, c.image, "--", "sh", "-c", c.script)
			if stdout != c.stdout || stderr != c.stderr || code != c.code {
				t.Errorf("got %q, %q, %d, want %q, %q, %d", stdout, stderr, code, c.stdout, c.stderr, c.code)
			}
			wantNothingLeft(t, name)
		})
	}
	for _, path := range []string{"tiny/x", "c8-ns/usr/bin/new"} {
		if _, err := os.Lstat(filepath.Join(guests, path)); err == nil {
			t.Errorf("the image has %s", path)
		}
	}
}

// A machine that cannot be run says why, and leaves nothing.
func TestMachdRunRefuses(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		args []string
		says string
		code int
	}{
		{[]string{"tiny", "--", "/nosuch"}, "/nosuch", 127},
		{[]string{"tiny", "--", "nosuch"}, "nosuch", 127},
		{[]string{"tiny", "--", "/etc/passwd"}, "permission denied", 126},
		{[]string{"no-such-image", "--", "true"}, "no image 'no-such-image'", 125},
		{[]string{"/no/such/tree", "--", "true"}, "/no/such/tree", 125},
		{[]string{"--memory=0", "tiny", "--", "true"}, "memory", 125},
		{[]string{"--bind=/no/such", "tiny", "--", "true"}, "/no/such", 125},
		{[]string{"--nspawn-arg=--no-such-option", "tiny", "--", "true"}, "no-such-option", 125},
		{[]string{"--nspawn-arg=--bind=+/no/other:/x", "tiny", "--", "true"}, "/no/other", 125},
	} {
		name := fmt.Sprintf("run-refused-%d", i)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := onPipes(t, "", append([]string{"--name", name}, c.args...)...)
			if stdout != "" || !strings.Contains(stderr, c.says) || code != c.code {
				t.Errorf("got %q, %q, %d, want %q in it, %d", stdout, stderr, code, c.says, c.code)
			}
			wantNothingLeft(t, name)
		})
	}
}

// A heldRun is machctl run whose command has begun.
type heldRun struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startRun returns when the command, a script, has begun.
func startRun(t *testing.T, name, image, script string, options ...string) heldRun {
	t.Helper()
	argv := append(append([]string{"run", "--name", name}, options...), image, "--", "sh", "-c", "echo begun; "+script)
	r := heldRun{Cmd: exec.Command("machctl", argv...)}
	var err error
	r.in, err = r.StdinPipe()
	must(t, err)
	out, err := r.StdoutPipe()
	must(t, err)
	r.out, r.Stderr = bufio.NewReader(out), os.Stderr
	must(t, r.Start())
	t.Cleanup(func() { r.Process.Kill(); r.Cmd.Wait() })
	r.reads(t, "begun\n")
	return r
}

func (r heldRun) reads(t *testing.T, want string) {
	t.Helper()
	if line, err := r.out.ReadString('\n'); line != want {
		t.Fatalf("it says %q, %v, want %q", line, err, want)
	}
}

// Whatever is killed, nothing is left of the machine.
func TestMachdRunEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(t *testing.T, name string, cmd *exec.Cmd){
		"caller":     func(t *testing.T, _ string, cmd *exec.Cmd) { must(t, cmd.Process.Kill()) },
		"supervisor": func(t *testing.T, name string, _ *exec.Cmd) { killUnit(t, name, "main") },
		"all":        func(t *testing.T, name string, _ *exec.Cmd) { killUnit(t, name, "all") },
		"stopped":    func(t *testing.T, name string, _ *exec.Cmd) { run(t, "machctl", "stop", name) },
		"terminated": func(t *testing.T, name string, _ *exec.Cmd) { run(t, "machinectl", "terminate", name) },
		"signal":     func(t *testing.T, _ string, cmd *exec.Cmd) { must(t, cmd.Process.Signal(syscall.SIGTERM)) },
	} {
		name := "run-end-" + what
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cmd := startRun(t, name, "tiny", "touch /x; sleep 1000 & wait")
			end(t, name, cmd.Cmd)
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); what == "signal" && code != 143 || code == 0 {
				t.Errorf("it ended with %d, %v", code, err)
			}
			wantGone(t, name)
		})
	}
}

func killUnit(t *testing.T, name, whom string) {
	t.Helper()
	run(t, "systemctl", "kill", "--kill-whom="+whom, "--signal=KILL", "machine-"+strings.ReplaceAll(name, "-", `\x2d`)+".service")
}

// A machine needs no daemon: it ends as it would have, and leaves as little.
func TestMachdRunOutlivesTheDaemon(t *testing.T) {
	const name = "run-outlives"
	w := watch(t)
	r := startRun(t, name, "tiny", "read line; echo got $line; exit 3")
	w.kill(t)
	eventually(t, "machd is back", func() error {
		_, err := w.lookUp(t, name)
		return err
	})
	if out := observe(t, "machinectl", "remove", "tiny"); out.Code == 0 {
		t.Fatal("an image that is read was removed")
	}
	_, err := r.in.Write([]byte("x\n"))
	must(t, err)
	r.reads(t, "got x\n")
	_ = r.Wait()
	if code := r.ProcessState.ExitCode(); code != 3 {
		t.Errorf("it ended with %d", code)
	}
	wantGone(t, name)
}

// What a machine has left when the host crashed goes when machd starts.
func TestMachdRunIsSwept(t *testing.T) {
	const name = "run-swept"
	dir := filepath.Join(guests, ".#machd-run-"+name)
	must(t, os.MkdirAll(filepath.Join(dir, "store/upper/etc"), 0o700))
	live := startRun(t, "run-unswept", "tiny", "touch /x; read line; ls /x")
	run(t, "systemctl", "restart", theService)
	wantGone(t, name)
	_, err := live.in.Write([]byte("x\n"))
	must(t, err)
	live.reads(t, "/x\n")
	must(t, live.Wait())
}

func wantGone(t *testing.T, name string) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		if left := leftOf(name); len(left) > 0 {
			return fmt.Errorf("there is %s", strings.Join(left, ", "))
		}
		return nil
	})
	wantNothingLeft(t, name)
}

// Two machines of one image see nothing of each other, and nobody may change the
// image meanwhile.
func TestMachdRunSharesAnImage(t *testing.T) {
	t.Parallel()
	const image = "run-shared"
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, image))
	t.Cleanup(func() { os.RemoveAll(filepath.Join(guests, image)) })
	script := "test ! -e /x && touch /x; read line; exit 5"
	one, other := startRun(t, image+"-1", image, script), startRun(t, image+"-2", image, script)
	for _, argv := range [][]string{{"machinectl", "remove", image}, {"machctl", "rename", image, image + "x"}, {"machctl", "start", image}} {
		if out := observe(t, argv...); out.Code == 0 {
			t.Errorf("%q has nothing against it", argv)
		}
	}
	for _, r := range []heldRun{one, other} {
		must(t, r.in.Close())
		_ = r.Wait()
		if code := r.ProcessState.ExitCode(); code != 5 {
			t.Errorf("it ended with %d", code)
		}
	}
	run(t, "machinectl", "remove", image)
}

// A machine that runs on an image lets nobody read it through an overlay, whose
// ground must not move.
func TestMachdRunRefusesAnImageInUse(t *testing.T) {
	t.Parallel()
	const name = "run-in-use"
	startGuest(t, name)
	_, stderr, code := onPipes(t, "", "--name", name+"-2", name, "--", "true")
	if code != 125 || !strings.Contains(stderr, "uses or changes") {
		t.Errorf("got %q, %d", stderr, code)
	}
	wantNothingLeft(t, name+"-2")
}

// With a terminal of ours the command has one, of our size, where an interrupt
// is for it.
func TestMachdRunOnATerminal(t *testing.T) {
	t.Parallel()
	const name = "run-terminal"
	term := openTerminal(t, "machctl", "run", "--name", name, "c8-ns", "--", "sh")
	talk(t, term,
		[2]string{`# `, "tty; stty size; echo $TERM is $((6 * 7))\n"},
		[2]string{`/dev/(console|pts/\d+)\s+\d+ \d+\s+\S+ is 42`, "sleep 8301\n"})
	eventually(t, "it sleeps", wantSleepers("8301", 1)) // a shell that is about to fork is deaf to the key
	talk(t, term,
		[2]string{`sleep 8301`, "\x03"},
		[2]string{`# `, "exit 4\n"})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("it ended with %v", err)
	}
	wantNothingLeft(t, name)
}

// Without a command the machine boots, and ends with a shutdown.
func TestMachdRunBoots(t *testing.T) {
	t.Parallel()
	const name = "run-boots"
	term := openTerminal(t, "machctl", "run", "--name", name, "c8-ns")
	talk(t, term,
		[2]string{`login: `, "root\n"},
		[2]string{`Password: `, "c8\n"},
		[2]string{`root@\S+:~# `, "touch /new; findmnt -no FSTYPE /; poweroff\n"},
		[2]string{`overlay`, ""})
	must(t, term.Wait())
	wantNothingLeft(t, name)
}

// A machine whose caller is not allowed to is not run.
func TestMachdRunTakesARight(t *testing.T) {
	t.Parallel()
	const name = "run-denied"
	out := live.ObserveAs(t, "alice", "machctl", "run", "--no-ask-password", "--name", name, "tiny", "--", "true")
	if out.Code != 125 || !strings.Contains(out.Stderr, "org.machd.start") {
		t.Errorf("got %+v", out)
	}
	wantNothingLeft(t, name)
}
