package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/test/live"
)

const (
	ordinary = "alice"

	// mayRegister is what an administrator writes who lets her machines be known
	// to the system.
	mayRegister = `polkit.addRule(function(action, subject) {
	if (action.id == "org.freedesktop.machine1.register-machine" && subject.user == "` + ordinary + `")
		return polkit.Result.YES;
});
`
	// foreignIDs is where the tree of an image begins that belongs to no user of
	// the host: systemd's foreign UID range.
	foreignIDs = 0x7ffe0000

	// startTime is what systemd-nspawn takes at most until it has registered: its
	// filter of system calls is made for each architecture, and interpreted.
	startTime = 3 * time.Minute
)

// systemd-nspawn of an ordinary user registers with his own daemon, and with the
// system's if he may. Its ids come from systemd-nsresourced, which needs BPF
// programs as a security module.
func Test262MachineOfAnOrdinaryUserIsInBothLists(t *testing.T) {
	if live.Host.Version < 262 {
		t.Fatal("systemd before 262 starts no container of an ordinary user's")
	}
	live.Must(t, os.WriteFile("/etc/polkit-1/rules.d/50-own.rules", []byte(mayRegister), 0o644))
	// Loading its programs takes the first longer than its clients wait.
	live.Run(t, "systemctl", "start", "systemd-nsresourced.service", "systemd-mountfsd.service")
	own := newOwn(t)
	tree := own.install(t, "tiny")

	c := own.start(t, "own", tree)
	c.wantListed(t, "own")
	for _, key := range []string{"Leader", "Id", "Class", "Service", "RootDirectory", "UID"} {
		users, systems := own.run(t, "machinectl", "--user", "show", "-P", key, "own"), live.Run(t, "machinectl", "show", "-P", key, "own")
		if users == "" || users != systems {
			t.Errorf("%s is %q for the user, %q for the system", key, users, systems)
		}
	}
	live.Run(t, "systemctl", "restart", "systemd-machined.service")
	c.wantListed(t, "own")
	own.run(t, "systemctl", "--user", "restart", "systemd-machined.service")
	c.wantListed(t, "own")
	own.run(t, "machinectl", "--user", "terminate", "own")
	c.wantEnded(t)

	c = own.start(t, "own", tree)
	c.wantListed(t, "own")
	live.Run(t, "machinectl", "terminate", "own")
	c.wantEnded(t)
}

// An own is the ordinary user with his service manager.
type own struct{ uid, runtime string }

func newOwn(t *testing.T) own {
	t.Helper()
	u, err := user.Lookup(ordinary)
	live.Must(t, err)
	o := own{u.Uid, "/run/user/" + u.Uid}
	live.Run(t, "loginctl", "enable-linger", ordinary)
	t.Cleanup(func() { live.Observe(t, "loginctl", "disable-linger", ordinary) })
	await(t, "the user's bus is there", func() error { return o.command("busctl", "--user", "status").Run() })
	if live.Host.Machd {
		o.run(t, "systemctl", "--user", "enable", "machd")
		o.run(t, "systemctl", "--user", "restart", "machd.socket", "machd.service")
	}
	return o
}

func (o own) command(argv ...string) *exec.Cmd {
	prefix := []string{"-u", ordinary, "--", "env", "XDG_RUNTIME_DIR=" + o.runtime}
	return exec.Command("runuser", append(prefix, argv...)...)
}

func (o own) run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := o.command(argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// install gives the user a copy of a guest, as one that he could have unpacked.
func (o own) install(t *testing.T, guest string) (tree string) {
	t.Helper()
	dir := "/var/lib/machines/" + ordinary
	tree = dir + "/" + guest
	live.Must(t, os.Mkdir(dir, 0o755))
	live.Run(t, "cp", "-a", "/var/lib/machines/"+guest, tree)
	live.Run(t, "chown", "-hR", fmt.Sprintf("%d:%d", foreignIDs, foreignIDs), tree)
	live.Run(t, "chown", ordinary+":", dir)
	live.Run(t, "chmod", "755", "/var/lib/machines")
	return tree
}

// A container is one that the user has started.
type container struct {
	own
	nspawn *exec.Cmd
	said   bytes.Buffer
	ended  chan error
}

func (o own) start(t *testing.T, name, tree string) *container {
	t.Helper()
	c := &container{own: o, ended: make(chan error, 1)}
	c.nspawn = o.command("systemd-nspawn", "-M", name, "-D", tree, "--private-users=managed", "--private-network", "sleep", "infinity")
	c.nspawn.Stdout, c.nspawn.Stderr = &c.said, &c.said
	live.Must(t, c.nspawn.Start())
	go func() { c.ended <- c.nspawn.Wait() }()
	return c
}

// wantListed waits until both daemons list the machine, and nothing else.
func (c *container) wantListed(t *testing.T, name string) {
	t.Helper()
	await(t, "both daemons list "+name, func() error {
		select {
		case err := <-c.ended:
			t.Fatalf("systemd-nspawn has ended: %v\n%s", err, &c.said)
		default:
		}
		return c.listed([]string{name})
	})
}

func (c *container) wantEnded(t *testing.T) {
	t.Helper()
	await(t, "no daemon lists it", func() error { return c.listed(nil) })
	select {
	case <-c.ended:
	case <-time.After(startTime):
		t.Fatal("systemd-nspawn goes on")
	}
}

// listed compares what the user's daemon and the system's list.
func (o own) listed(want []string) error {
	users := o.command("machinectl", "--user", "--no-legend", "list")
	for _, list := range []*exec.Cmd{users, exec.Command("machinectl", "--no-legend", "list")} {
		out, err := list.Output()
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(out)) {
			names = append(names, strings.Fields(line)[0])
		}
		if !slices.Equal(names, want) {
			return fmt.Errorf("%q lists %q, want %q", list.Args, names, want)
		}
	}
	return nil
}

// await waits longer than live.Eventually does.
func await(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); time.Sleep(time.Second) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %s: %v", what, startTime, err)
}
