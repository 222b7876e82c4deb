package booted

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/terminal"
)

// machctlHere is our command, which a host with systemd-machined has not
// installed.
func machctlHere() string {
	if path, err := exec.LookPath("machctl"); err == nil {
		return path
	}
	return "/src/bin/machctl"
}

// A host that has systemd but no machctl, and perhaps no machd, does what it can,
// and machctl says what is missed.
func TestRemoteHostWithoutMachctl(t *testing.T) {
	const name = "remote-bare"
	startFarHost(t, "/usr/bin/machctl")
	installGuest(t, name)
	dir := t.TempDir()
	run(t, "sh", "-euc", `cd "$0"; mkdir -p tree/sub; echo one >tree/sub/file; echo two >file; tar cf tree.tar tree`, dir)
	for _, row := range []struct {
		script string
		status int
		out    string
		says   string
	}{
		{`machctl -H far start remote-bare`, 0, "", ""},
		{`machctl -H far --no-legend list | cut -d' ' -f1`, 0, "remote-bare\n", ""},
		{`machctl -H far show -P Class remote-bare`, 0, "container\n", ""},
		{`machctl -H far status remote-bare | head -n 1 | cut -d'(' -f1`, 0, "remote-bare\n", ""},
		{`machctl -H far exec remote-bare -- sh -c 'echo out; exit 3'`, 3, "out\n", "has no machctl"},
		{`echo in | machctl -H far exec -w /usr -e A=b remote-bare -- sh -c 'cat; pwd; echo $A'`, 0, "in\n/usr\nb\n", "passes no signals"},
		{`machctl -q -H far exec remote-bare -- sh -c 'A=a; echo $A $# %n "$1"' sh '$HOME'`, 0, "a 1 %n $HOME\n", ""},
		{`machctl -q -H far exec remote-none -- true`, 125, "", "No machine 'remote-none' known"},
		{`machctl -q -H far shell remote-bare /bin/echo hello`, 0, "hello\n", ""},
		{`machctl -q -H far copy-to remote-bare tree /root/tree && machctl -q -H far copy-from remote-bare /root/tree back && diff -r tree back`, 0, "", ""},
		{`machctl -q -H far copy-to remote-bare file /root/file && machctl -q -H far copy-from remote-bare /root/file file.back && cmp file file.back`, 0, "", ""},
		{`machctl -q -H far copy-to remote-bare file /root/file`, 1, "", "exists"},
		{`machctl -q -H far copy-to remote-bare file /root/tree/ && mkdir into && machctl -q -H far copy-from remote-bare /root/tree/file into && cmp file into/file`, 0, "", ""},
		{`machctl -q -H far copy-to --force remote-bare file /root/tree && machctl -q -H far copy-to remote-bare file /root/tree`, 1, "", "exists"},
		{`machctl -q -H far copy-from remote-bare /no/such x; ls x`, 2, "", "Failed to copy"},
		{`machctl -q -H far import-tar tree.tar remote-tar && machctl -q -H far export-tar remote-tar - | tar t | grep -c sub/file; machctl -q -H far remove -y --with-settings remote-tar`, 0, "1\n", ""},
		// What is there instead knows no machine's images, and no user's.
		{`machctl -H far/remote-bare --force import-tar tree.tar remote-tar; status=$?; machctl -H far show-image remote-tar; exit $status`, 7, "", "has no machctl, and import-tar needs it there"},
		{`machctl -H far/remote-bare export-tar remote-bare x.tar; status=$?; ls x.tar; exit $status`, 7, "", "has no machctl, and export-tar needs it there"},
		{`machctl -H far --user --force import-tar tree.tar remote-tar; status=$?; machctl -H far show-image remote-tar; exit $status`, 7, "", "has no machctl, and import-tar needs it there"},
		{`machctl -H far history`, 7, "", "has no machctl, and history needs it there"},
	} {
		got := observe(t, "sh", "-c", `machctl() { "$0" "$@"; }; cd "$1"; `+row.script, machctlHere(), dir)
		if got.Code != row.status || got.Stdout != row.out || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%s: exit status %d, want %d; %q, want %q\n%s", row.script, got.Code, row.status, got.Stdout, row.out, got.Stderr)
		}
	}
	far := func(words ...string) *terminal.Terminal {
		return openTerminal(t, append([]string{machctlHere(), "-H", farHost}, words...)...)
	}
	term := far("shell", ".host", "/bin/sh", "-c", "tty; id -un")
	talk(t, term, [2]string{`has no machctl`, ""}, [2]string{`/dev/pts/\d+\nroot\n`, ""})
	must(t, term.Wait())
	term = far("login", name)
	talk(t, term, [2]string{name + ` login: $`, "\n"}, [2]string{name + ` login: $`, "\x1d\x1d\x1d"})
	must(t, term.Wait())
	term = far("shell", name)
	// machinectl 262 does not always see that the shell has ended, so it is left.
	talk(t, term, [2]string{`# $`, "stty size\n"}, [2]string{`\n40 120\n`, "\x1d\x1d\x1d"})
	must(t, term.Wait())
	run(t, machctlHere(), "-H", farHost, "stop", name)
	wantEnd(t, observe(t, machctlHere(), "-H", farHost, "show", name), 3, name)
	wantNothingOnItsWay(t, dir, filepath.Dir(dir))
	wantNoSSH(t)
}
