package booted

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What machctl tells of another host is what it tells there.
func TestMachdRemoteTellsTheSame(t *testing.T) {
	const name = "remote-tells"
	startFarHost(t)
	startGuest(t, name)
	for _, words := range [][]string{
		{"list", "--all"},
		{"list", "--output=json-pretty", "--max-addresses=all"},
		{"show", name},
		{"show"},
		{"list-images"},
		{"cat", name},
		{"logs", name, "--lines=3", "--output=cat"},
		{"history", "--json=short"},
	} {
		// The console of the machine may have said more in between.
		eventually(t, fmt.Sprintf("%q tells the same", words), func() error {
			want := run(t, append([]string{"machctl"}, words...)...)
			got := run(t, append([]string{"machctl", "-H", farHost}, words...)...)
			if got != want {
				return fmt.Errorf("there:\n%s\nhere:\n%s", got, want)
			}
			return nil
		})
	}
	status := run(t, "machctl", "-H", farHost, "status", name)
	for _, want := range []string{name + "(", "Leader: ", "Unit: " + serviceOf(name), "systemd-journald"} {
		if !strings.Contains(status, want) {
			t.Errorf("status says nothing of %q:\n%s", want, status)
		}
	}
	if got, want := run(t, "machctl", "-H", "["+"::ffff:"+farAddress+"]:"+farPort, "-q", "list"), run(t, "machctl", "list"); got != want {
		t.Errorf("by an address of IPv6:\n%s\nhere:\n%s", got, want)
	}
	wantNoSSH(t)
}

// A whole life of a machine, by ssh.
func TestMachdRemoteStartsAndStops(t *testing.T) {
	const name = "remote-life"
	startFarHost(t)
	installGuest(t, name)
	machctl := func(words ...string) string {
		t.Helper()
		return run(t, append([]string{"machctl", "--host=root@" + farHost}, words...)...)
	}
	machctl("start", name)
	if got := machctl("show", "-P", "State", name); got != "running" {
		t.Errorf("started, it is %q", got)
	}
	shared := "/run/" + name // whose file system can be shown with other owners
	must(t, os.WriteFile(shared, []byte("shared"), 0o644))
	t.Cleanup(func() { os.Remove(shared) })
	machctl("bind", name, shared, "/srv/shared", "--mkdir", "--read-only")
	if got := machctl("exec", name, "cat", "/srv/shared"); got != "shared" {
		t.Errorf("bound there is %q", got)
	}
	before := machctl("show", "-P", "Leader", name)
	machctl("restart", name)
	if after := machctl("show", "-P", "Leader", name); after == before {
		t.Errorf("restarted, the leader is still %s", after)
	}
	machctl("stop", name)
	got := observe(t, "machctl", "-H", farHost, "show", name)
	if got.Code != 3 || !strings.Contains(got.Stderr, name) {
		t.Errorf("stopped: exit status %d, %s", got.Code, got.Stderr)
	}
	if got := machctl("run", "-q", "/var/lib/machines/tiny", "--", "/bin/echo", "thrown away"); got != "thrown away" {
		t.Errorf("run: %q", got)
	}
	wantNoSSH(t)
}

// Commands in machines of another host are as commands of this one.
func TestMachdRemoteExecIsAsACommandOfThisHost(t *testing.T) {
	const name = "remote-exec"
	startFarHost(t)
	startGuest(t, name)
	dir := t.TempDir()
	before := execLeft(t, name)
	for _, test := range execScripts {
		if strings.Contains(test.script, "head -n 1") && strings.Contains(test.script, "seq 100000") {
			// ssh takes all input, whoever reads it.
			test.script = strings.Replace(test.script, "seq 100000", "seq 1000", 1)
		}
		script := `machctl() { command machctl -H far "$@"; }; cd "$0" && M="$1" && ` + test.script
		start := time.Now()
		got := observe(t, "sh", "-c", script, dir, name)
		if got.Code != test.status || got.Stdout != test.out {
			t.Errorf("%s: exit status %d, want %d; %q, want %q\n%s", test.script, got.Code, test.status, got.Stdout, test.out, got.Stderr)
		}
		if took := time.Since(start); took > slowly {
			t.Errorf("%s took %v", test.script, took)
		}
	}
	eventually(t, "nothing is left", func() error {
		if after := execLeft(t, name); after != before {
			return fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		return nil
	})
	wantNoSSH(t)
}

func TestMachdRemoteTerminals(t *testing.T) {
	const name = "remote-terminal"
	startFarHost(t)
	startGuest(t, name)
	term := openTerminal(t, "machctl", "-H", farHost, "exec", "-t", name, "--", "sh", "-c", "tty; stty size; echo TERM=$TERM; read line; echo got $line; exit 5")
	talk(t, term, [2]string{`/dev/pts/\d+\n40 120\nTERM=xterm\n`, "words\n"}, [2]string{`got words\n`, ""})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("it ended with %v, want exit status 5", err)
	}
	term = openTerminal(t, "machctl", "-H", farHost, "exec", "-t", name, "--", "sh", "-c", "echo ready; exec cat")
	talk(t, term, [2]string{`ready\n`, "\x03"})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 130") {
		t.Errorf("^C ended it with %v, want exit status 130", err)
	}
	term = openTerminal(t, "machctl", "-H", farHost, "shell", name)
	talk(t, term, [2]string{`Connected to machine ` + name, ""}, [2]string{`# `, "echo $((6 * 7)) on $(hostname)\n"},
		[2]string{`\n42 on ` + name + `\n`, ""}, [2]string{`# `, "\x1d\x1d\x1d"})
	must(t, term.Wait())
	term = openTerminal(t, "machctl", "-H", farHost, "login", name)
	talk(t, term, [2]string{`login: `, "root\n"}, [2]string{`Password: `, "c8\n"}, [2]string{`# `, "\x1d\x1d\x1d"})
	must(t, term.Wait())
	wantNoSSH(t)
}

// A command there gets the signals that come here, and ends with us.
func TestMachdRemoteExecEndsWithMachctl(t *testing.T) {
	const name, seconds = "remote-ends", "271900"
	startFarHost(t)
	startGuest(t, name)
	wantEndsWithMachctl(t, name, seconds, "-H", farHost)
	// A command that does not care takes its input and minds no signal but its own.
	out := run(t, "sh", "-c", `machctl -H far exec "$0" -- sh -c 'trap "echo usr1; exit 3" USR1; echo ready >&2; while :; do sleep 0.1; done' 2>"$1" </dev/zero &
		until grep -q ready "$1"; do sleep 0.1; done; kill -USR1 $!; wait $!; echo $?`, name, filepath.Join(t.TempDir(), "ready"))
	if out != "usr1\n3" {
		t.Errorf("with input that nobody takes, a signal brings %q", out)
	}
	wantNoSSH(t)
}

// What ssh asks for is asked on the terminal.
func TestMachdRemoteAsksForPasswords(t *testing.T) {
	startFarHost(t)
	term := openTerminal(t, "machctl", "-H", "alice@far-password", "list", "--all")
	talk(t, term, [2]string{`continue connecting`, "yes\n"}, [2]string{`password: `, "secret\n"}, [2]string{`\.host`, ""})
	must(t, term.Wait())
	term = openTerminal(t, "machctl", "-H", "alice@far-password", "list")
	talk(t, term, [2]string{`password: `, "\x03"})
	if err := term.Wait(); err == nil {
		t.Error("^C at the password is nothing")
	}
	got := observe(t, "setsid", "machctl", "-H", "alice@far-password", "list")
	if got.Code != 7 || !strings.Contains(got.Stderr, "Permission denied") {
		t.Errorf("without a terminal: exit status %d, %s", got.Code, got.Stderr)
	}
	// What alice may not do there, she may not by ssh.
	got = observe(t, "machctl", "-H", "alice@"+farHost, "terminate", ".host")
	if got.Code != 4 && got.Code != 1 {
		t.Errorf("terminate as alice: exit status %d, %s", got.Code, got.Stderr)
	}
	wantNoSSH(t)
}

func TestMachdRemoteWrongUses(t *testing.T) {
	startFarHost(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { silent.Close() })
	for _, row := range []struct {
		argv []string
		code int
		says []string
	}{
		{[]string{"-H", "127.0.0.1:1", "list"}, 7, []string{"Connection refused", "cannot reach the bus of 127.0.0.1:1", "hint"}},
		{[]string{"-H", "127.0.0.1:1", "exec", "x", "true"}, 125, []string{"Connection refused", "has not reached"}},
		{[]string{"-H", "nosuch.invalid", "list"}, 7, []string{"nosuch.invalid"}},
		{[]string{"-H", "-oProxyCommand=reboot", "list"}, 2, []string{"begins with -"}},
		{[]string{"-H", "far", "-M", "x", "list"}, 2, []string{"two places"}},
		{[]string{"-H", farHost + "/nosuch", "list"}, 7, []string{"nosuch", "hint"}},
		{[]string{"-H", farHost, "exec", "nosuch", "true"}, 125, []string{`"nosuch"`}},
		{[]string{"-H", farHost, "terminate", "nosuch"}, 3, []string{`"nosuch"`}},
		{[]string{"-H", farHost, "nosuchverb"}, 2, []string{"nosuchverb"}},
		{[]string{"-H", farHost, "--user", "list"}, 7, []string{"hint"}},
		{[]string{"-H", silent.Addr().String(), "list"}, 7, []string{"cannot reach the bus"}},
	} {
		start := time.Now()
		got := observe(t, append([]string{"machctl"}, row.argv...)...)
		if got.Code != row.code {
			t.Errorf("%q: exit status %d, want %d\n%s", row.argv, got.Code, row.code, got.Stderr)
		}
		for _, words := range row.says {
			if !strings.Contains(got.Stderr, words) {
				t.Errorf("%q: nothing of %q in:\n%s", row.argv, words, got.Stderr)
			}
		}
		if took := time.Since(start); took > 2*slowly {
			t.Errorf("%q took %v", row.argv, took)
		}
	}
	// Who waits for ssh can leave.
	term := openTerminal(t, "machctl", "-H", silent.Addr().String(), "list")
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	must(t, term.Type("\x03"))
	if err := term.Wait(); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("^C ended it with %v after %v", err, time.Since(start))
	}
	wantNoSSH(t)
}

// A password, and files that images are made of, come from here.
func TestMachdRemoteImages(t *testing.T) {
	const name = "remote-image"
	startFarHost(t)
	startGuest(t, name)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("wonderland\n"), 0o600))
	before := run(t, "machctl", "exec", name, "grep", "^root:", "/etc/shadow")
	run(t, "machctl", "-q", "-H", farHost, "passwd", name, "--password-file", filepath.Join(dir, "secret"))
	set := run(t, "machctl", "exec", name, "grep", "^root:", "/etc/shadow")
	if set == before || !strings.HasPrefix(set, "root:$") {
		t.Errorf("root's password was %q and is %q", before, set)
	}
	run(t, "machctl", "-q", "-H", farHost, "passwd", name, "--lock")
	if got := run(t, "machctl", "exec", name, "grep", "^root:", "/etc/shadow"); !strings.HasPrefix(got, "root:!*:") {
		t.Errorf("locked, it is %q", got)
	}
	for _, row := range []struct {
		words []string
		code  int
		says  string
	}{
		{[]string{"passwd", name, "nobody-here", "--lock"}, 1, "its chpasswd says no"},
		{[]string{"passwd", "nosuch", "--lock"}, 3, `"machctl -H far list-images"`},
		{[]string{"create", "made", "--from", dir}, 1, `"machctl -H far import-fs ` + dir + ` made"`},
		{[]string{"create", "made", "--from", filepath.Join(dir, "secret")}, 1, `"machctl -H far import-tar `},
	} {
		got := observe(t, append([]string{"machctl", "-H", farHost}, row.words...)...)
		if got.Code != row.code || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%q: exit status %d, want %d with %q\n%s", row.words, got.Code, row.code, row.says, got.Stderr)
		}
	}
	wantNoSSH(t)
}

// machctl --user of another host speaks of the user's own machines there.
func TestMachdRemoteUser(t *testing.T) {
	startFarHost(t)
	newOwn(t, "alice")
	if got := run(t, "machctl", "-H", "alice@"+farHost, "--user", "list"); got != "No machines." {
		t.Errorf("alice's machines are %q", got)
	}
	if got := run(t, "machctl", "-H", "alice@"+farHost, "--user", "history"); got != "No past machines." {
		t.Errorf("alice's past machines are %q", got)
	}
	wantNoSSH(t)
}
