package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// A session is one of a user who sits at this host's seat.
type session struct{ user, cgroup string }

// startSession logs a user in until the test's end.
func startSession(t *testing.T, user string) session {
	t.Helper()
	uncontainLogind(t)
	unit := "session-of-" + user + ".service"
	run(t, "systemd-run", "-q", "--service-type=exec", "--unit="+unit, "--uid="+user, "-p", "PAMName=login", "-p",
		"Environment=XDG_SEAT=seat0 XDG_SESSION_CLASS=user XDG_SESSION_TYPE=tty", "sleep", "infinity")
	t.Cleanup(func() { observe(t, "systemctl", "stop", unit) })
	s := session{user: user}
	eventually(t, user+" is logged in", func() error {
		pid := run(t, "systemctl", "show", "-P", "MainPID", unit)
		cgroup, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
		if err != nil {
			return err
		}
		_, s.cgroup, _ = strings.Cut(strings.TrimSpace(string(cgroup)), "0::")
		if !strings.HasPrefix(s.cgroup, fmt.Sprintf("/user.slice/user-%d.slice/session-", uidOf(t, user))) {
			return fmt.Errorf("the session's process is in %s", s.cgroup)
		}
		return nil
	})
	return s
}

// argv returns a command line that is run in the session.
func (s session) argv(argv ...string) []string {
	enter := []string{"sh", "-c", "echo $$ >/sys/fs/cgroup" + s.cgroup + "/cgroup.procs && exec \"$@\"", "sh"}
	return append(append(enter, asUser(s.user)...), argv...)
}

// uncontainLogind lets logind of 258 and later accept sessions. It compares
// boot IDs, and nspawn shows us one of our own, which logind's own mounts hide.
func uncontainLogind(t *testing.T) {
	t.Helper()
	const dropIn = "/run/systemd/system/systemd-logind.service.d/test.conf"
	if _, err := os.Stat(dropIn); err == nil || live.Host.Version < 258 {
		return
	}
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte(`[Service]
ProtectClock=no
ProtectControlGroups=no
ProtectHome=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectSystem=no
PrivateTmp=no
RestrictNamespaces=no
`), 0o644))
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", "systemd-logind.service")
}
