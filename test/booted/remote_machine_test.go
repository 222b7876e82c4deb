package booted

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installMachdIn puts this host's machd into a guest.
func installMachdIn(t *testing.T, name string) {
	t.Helper()
	root := filepath.Join(guests, name)
	run(t, "sh", "-euc", `cp -a --parents /usr/libexec/machd /usr/bin/machctl /usr/lib/systemd/system/machd.* /usr/lib/systemd/system/machd-* \
		/usr/share/dbus-1/system.d/org.*mach*.conf "$0"; systemctl -q --root="$0" enable machd.service machd.socket`, root)
}

// With --machine machctl speaks to the machd in a machine, whose users are not
// the host's; descriptors pass.
func TestMachdInAMachine(t *testing.T) {
	const name = "inner"
	startFarHost(t)
	installGuest(t, name)
	installMachdIn(t, name)
	run(t, "machinectl", "start", name)
	eventually(t, "the inner machd answers", func() error {
		return exec.Command("machctl", "-M", name, "list").Run()
	})
	for _, row := range []struct {
		script string
		status int
		out    string
	}{
		{`machctl -M inner --no-legend list -a | cut -d' ' -f1`, 0, ".host\n"},
		{`machctl -M root@inner --no-legend list -a | cut -d' ' -f1`, 0, ".host\n"},
		{`machctl -M inner show -P PoolPath`, 0, "/var/lib/machines\n"},
		{`machctl -M inner list-images`, 0, "No images.\n"},
		{`machctl -M inner exec .host -- sh -c 'hostname; echo err >&2; exit 7' 2>/dev/null`, 7, "inner\n"},
		{`echo words | machctl -M inner exec .host -- cat`, 0, "words\n"},
		{`machctl -M inner -q shell .host /bin/hostname`, 0, "inner\r\n"},
		{`machctl -H far/inner --no-legend list -a | cut -d' ' -f1`, 0, ".host\n"},
		{`machctl -H far/inner exec .host -- sh -c 'hostname; exit 8'`, 8, "inner\n"},
		{`machctl -M nosuch list 2>&1 | head -n 1`, 0, "machctl: cannot reach the bus in \"nosuch\": no machine \"nosuch\" is known\n"},
		{`machctl -M nosuch list 2>/dev/null`, 3, ""},
		{`machctl -M nosuch cat x 2>/dev/null`, 3, ""},
		{`machctl -M inner terminate nosuch 2>/dev/null`, 3, ""},
		{`machctl -M .host --no-legend list -a | cut -d' ' -f1 | sort`, 0, ".host\ninner\n"},
		{`machctl -M a/b list 2>/dev/null`, 2, ""},
		{`runuser -u alice -- machctl --no-ask-password -M inner list 2>/dev/null`, 4, ""},
	} {
		got := observe(t, "sh", "-c", row.script)
		if got.Code != row.status || got.Stdout != row.out {
			t.Errorf("%s: exit status %d, want %d; %q, want %q\n%s", row.script, got.Code, row.status, got.Stdout, row.out, got.Stderr)
		}
	}
	term := openTerminal(t, "machctl", "-M", name, "shell", ".host")
	talk(t, term, [2]string{`# `, "echo $((6 * 7)) on $(hostname)\n"}, [2]string{`42 on inner\n`, ""}, [2]string{`# `, "\x1d\x1d\x1d"})
	must(t, term.Wait())
	if got := observe(t, "pgrep", "-x", "systemd-stdio-b"); strings.TrimSpace(got.Stdout) != "" {
		t.Errorf("there are still bridges: %s", got.Stdout)
	}
}
