package booted

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	run(t, "sh", "-euc", `cd "$0"; mkdir -p tree/sub; echo one >tree/sub/file; echo two >file`, dir)
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
		{`machctl -q -H far shell remote-bare /bin/echo hello`, 0, "hello\n", ""},
		{`machctl -q -H far copy-to remote-bare tree /root/tree && machctl -q -H far copy-from remote-bare /root/tree back && diff -r tree back`, 0, "", ""},
		{`machctl -q -H far copy-to remote-bare file /root/file && machctl -q -H far copy-from remote-bare /root/file file.back && cmp file file.back`, 0, "", ""},
		{`machctl -q -H far copy-to remote-bare file /root/file`, 1, "", "exists"},
		{`machctl -q -H far copy-from remote-bare /no/such x; ls x`, 2, "", "Failed to copy"},
		{`machctl -H far history`, 7, "", "has no machctl, and history needs it there"},
		{`machctl -H far stop remote-bare`, 0, "", ""},
		{`machctl -H far show remote-bare`, 3, "", "remote-bare"},
	} {
		got := observe(t, "sh", "-c", `machctl() { "$0" "$@"; }; cd "$1"; `+row.script, machctlHere(), dir)
		if got.Code != row.status || got.Stdout != row.out || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%s: exit status %d, want %d; %q, want %q\n%s", row.script, got.Code, row.status, got.Stdout, row.out, got.Stderr)
		}
	}
	term := openTerminal(t, machctlHere(), "-H", farHost, "shell", ".host", "/bin/sh", "-c", "tty; id -un")
	talk(t, term, [2]string{`has no machctl`, ""}, [2]string{`/dev/pts/\d+\nroot\n`, ""})
	must(t, term.Wait())
	wantNothingOnItsWay(t, dir, filepath.Dir(dir))
	wantNoSSH(t)
}
