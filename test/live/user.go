package live

import (
	"os/exec"
	"os/user"
	"strings"
	"testing"
)

// A User is one of the host's who has a service manager of his own, and in it
// the daemon that the host was made for.
type User struct {
	Name    string
	Runtime string // directory
}

// NewUser starts the user's service manager until the test's end.
func NewUser(t *testing.T, name string) User {
	t.Helper()
	account, err := user.Lookup(name)
	Must(t, err)
	u := User{name, "/run/user/" + account.Uid}
	manager := "user@" + account.Uid + ".service"
	Run(t, "loginctl", "enable-linger", name)
	t.Cleanup(func() {
		Run(t, "loginctl", "disable-linger", name)
		// What ends would be taken for what the next test starts.
		Run(t, "systemctl", "stop", manager)
	})
	Run(t, "systemctl", "start", manager)
	if Host.Machd {
		u.Run(t, "systemctl", "--user", "enable", "machd")
		u.Run(t, "systemctl", "--user", "restart", "machd.socket", "machd.service")
		t.Cleanup(func() { u.Run(t, "systemctl", "--user", "disable", "--now", "machd.socket", "machd.service") })
	}
	return u
}

// Command returns a command of the user's, which reaches his service manager.
func (u User) Command(argv ...string) *exec.Cmd {
	prefix := []string{"-u", u.Name, "--", "env", "XDG_RUNTIME_DIR=" + u.Runtime}
	return exec.Command("runuser", append(prefix, argv...)...)
}

// Run runs a command of the user's that must succeed and returns what it printed.
func (u User) Run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := u.Command(argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Names returns the first word of each line of a list.
func Names(list string) (names []string) {
	for line := range strings.Lines(list) {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}
