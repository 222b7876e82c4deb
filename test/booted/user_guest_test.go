package booted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/live"
)

// startGuest boots a copy of c8-ns in a user namespace that the user made, as
// its root, and registers it when its bus is there. The copy has the machine ID of
// c8-ns, whose journal may be linked from the host's.
func (o own) startGuest(name string) {
	o.t.Helper()
	home := "/srv/" + name // /var/lib/machines is closed to users
	root := filepath.Join(home, name)
	must(o.t, os.Mkdir(home, 0o755))
	o.t.Cleanup(func() { os.RemoveAll(home) })
	run(o.t, "cp", "-a", filepath.Join(guests, "c8-ns"), root)
	must(o.t, filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		var stat unix.Stat_t
		if err := errors.Join(err, unix.Lstat(path, &stat)); err != nil {
			return err
		}
		return os.Lchown(path, ownBase+int(stat.Uid), ownBase+int(stat.Gid))
	}))
	maker := o.userNamespace("namespace-of-" + name)
	unit := name + ".service"
	run(o.t, "systemd-run", "-q", "--collect", "--unit="+unit, "-p", "Delegate=yes", "sh", "-ec", fmt.Sprintf(`
mkdir -p /run/systemd/nspawn
cd "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)"
chown %[1]d:%[1]d . cgroup.procs cgroup.threads cgroup.subtree_control
cd /
exec nsenter --target=%[2]s --user --setuid=0 --setgid=0 unshare --mount sh -ec '
mount -t tmpfs tmpfs /run/systemd/nspawn
exec systemd-nspawn -q --register=no --keep-unit --private-network --link-journal=no -M %[3]s -D %[4]s -b'`, ownBase, maker, name, root))
	o.t.Cleanup(func() { observe(o.t, "systemctl", "kill", "--signal=KILL", unit) })
	o.register(name, o.bootedBelow(unit))
}

// bootedBelow waits for the systemd that systemd-nspawn in a unit has started,
// and returns its number.
func (o own) bootedBelow(unit string) (leader string) {
	o.t.Helper()
	nspawn := run(o.t, "systemctl", "show", "-P", "MainPID", unit)
	eventually(o.t, "its guest has booted", func() error {
		children, err := os.ReadFile("/proc/" + nspawn + "/task/" + nspawn + "/children")
		if err != nil {
			return err
		}
		leader = strings.TrimSpace(string(children))
		if comm, _ := os.ReadFile("/proc/" + leader + "/comm"); string(comm) != "systemd\n" {
			return fmt.Errorf("there is no systemd, but %q", comm)
		}
		_, err = os.Stat("/proc/" + leader + "/root/run/dbus/system_bus_socket")
		return err
	})
	return leader
}

func Test262AShellAndALoginInAGuestOfAUsers(t *testing.T) {
	o := newOwn(t, "alice")
	const name = "users-guest"
	o.startGuest(name)
	eventually(t, "its bus answers", func() error { return o.Command("machinectl", "--user", "shell", name, "/bin/true").Run() })
	clients := []string{"machinectl"}
	if live.Host.Machd {
		clients = append(clients, "machctl")
	}
	for _, client := range clients {
		shell := openTerminal(t, o.Command(client, "--user", "shell", name, "/bin/sh", "-c", "id -un; tty; hostname").Args...)
		if _, err := shell.Expect(`\nroot\n/dev/pts/\d+\n` + name + `\n`); err != nil {
			t.Errorf("%s: %v", client, err)
		}
		must(t, shell.Wait())
	}
	// Last, as its getty begins again on whichever terminal gets the number.
	login := openTerminal(t, o.Command("machinectl", "--user", "login", name).Args...)
	for _, round := range []struct{ wanted, answer string }{
		{`login: `, "root\n"},
		{`Password: `, "c8\n"},
		{`root@\S+:~# `, "\x1d\x1d\x1d"},
	} {
		_, err := login.Expect(round.wanted)
		must(t, err)
		must(t, login.Type(round.answer))
	}
	must(t, login.Wait())
}
