package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// TestAnsible has ansible become other users by its own plug-in for machinectl,
// as it comes from Debian. It is given each of the clients as the program to use.
func TestAnsible(t *testing.T) {
	for _, c := range clients(t) {
		t.Run(c.name, func(t *testing.T) {
			for _, task := range []struct {
				user, command, want string
			}{
				{"alice", "id -un", "alice"},
				{"bob", "pwd", "/home/bob"},
				{"alice", "echo 'two  words' $((6*7)) \"$HOME\"", "two  words 42 /home/alice"},
				{"nobody", "id -u; echo more", "65534\nmore"},
			} {
				got := ansible(t, c.path, task.user, task.command)
				if got.Code != 0 || !strings.Contains(strings.ReplaceAll(got.Stdout, "\r", ""), task.want) {
					t.Errorf("as %s, %s: exit status %d, want %q\n%s%s", task.user, task.command, got.Code, task.want, got.Stdout, got.Stderr)
				}
			}
			if got := ansible(t, c.path, "no-such-user", "id -un"); got.Code == 0 {
				t.Errorf("becomes a user that is not there:\n%s", got.Stdout)
			}
		})
	}
}

// ansible runs a command on this host as another user. Having a password, it
// does so on a terminal: at the end of its input, machinectl loses what commands
// write.
func ansible(t *testing.T, machinectl, user, command string) live.Outcome {
	t.Helper()
	config := filepath.Join(t.TempDir(), "ansible.cfg")
	live.Must(t, os.WriteFile(config, []byte("[defaults]\nremote_tmp=/tmp/.ansible-$USER\n"), 0o644))
	return live.Observe(t, "env", "ANSIBLE_CONFIG="+config, "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0", "ANSIBLE_HOME="+t.TempDir(), "LC_ALL=C.UTF-8",
		"ansible", "localhost", "--connection=local", "--become", "--become-method=community.general.machinectl", "--become-user="+user,
		"--extra-vars", "ansible_become_exe="+machinectl+" ansible_become_password=is-not-asked-for", "--module-name=ansible.builtin.raw", "--args", command)
}
