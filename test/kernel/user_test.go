package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	// payload ends when it is told to: systemd-machined sends a signal, no more.
	payload = "trap exit TERM; sleep infinity & wait"

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
//
// systemd-machined comes as far as the restarts. It forgets the machine's cgroup
// in them, and the user's can end it no more.
func TestMachd262MachineOfAnOrdinaryUserIsInBothLists(t *testing.T) {
	live.Must(t, os.WriteFile("/etc/polkit-1/rules.d/50-own.rules", []byte(mayRegister), 0o644))
	// Loading its programs takes the first longer than its clients wait.
	live.Run(t, "systemctl", "start", "systemd-nsresourced.service", "systemd-mountfsd.service")
	o := own{live.NewUser(t, ordinary)}
	tree := o.install(t, "tiny")

	c := o.start(t, "own", tree)
	live.Must(t, c.listed("own"))
	for _, key := range []string{"Leader", "Id", "Class", "Service", "RootDirectory", "UID"} {
		users, systems := o.Run(t, "machinectl", "--user", "show", "-P", key, "own"), live.Run(t, "machinectl", "show", "-P", key, "own")
		if users == "" || users != systems {
			t.Errorf("%s is %q for the user, %q for the system", key, users, systems)
		}
	}
	live.Run(t, "systemctl", "restart", "systemd-machined.service")
	live.Must(t, c.listed("own"))
	o.Run(t, "systemctl", "--user", "restart", "systemd-machined.service")
	live.Must(t, c.listed("own"))
	o.Run(t, "machinectl", "--user", "terminate", "own")
	c.wantEnded(t)

	c = o.start(t, "own", tree)
	live.Must(t, c.listed("own"))
	live.Run(t, "machinectl", "terminate", "own")
	c.wantEnded(t)
}

// An own is the ordinary user with his service manager.
type own struct{ live.User }

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

// start returns when both daemons know the container.
func (o own) start(t *testing.T, name, tree string) *container {
	t.Helper()
	// Each of systemd-nsresourced's processes loads the programs again, before its
	// first answer, and systemd-nspawn waits 45 s for that.
	const tries = 4
	for try := 1; ; try++ {
		c := &container{own: o, ended: make(chan error, 1)}
		c.nspawn = o.Command("systemd-nspawn", "-M", name, "-D", tree, "--private-users=managed", "--private-network", "sh", "-c", payload)
		c.nspawn.Stdout, c.nspawn.Stderr = &c.said, &c.said
		live.Must(t, c.nspawn.Start())
		go func() { c.ended <- c.nspawn.Wait() }()
		err := c.awaitFiles(name)
		if err == nil {
			return c
		}
		if try == tries || !strings.Contains(c.said.String(), "Timer expired") {
			t.Fatalf("systemd-nspawn has not registered: %v\n%s", err, &c.said)
		}
	}
}

// awaitFiles waits for what both daemons keep of the machine: asking them takes
// the processor from what is waited for.
func (c *container) awaitFiles(name string) error {
	deadline := time.After(startTime)
	for _, dir := range []string{c.Runtime, "/run"} {
		for tick := time.Tick(100 * time.Millisecond); ; {
			if _, err := os.Stat(filepath.Join(dir, "systemd/machines", name)); err == nil {
				break
			}
			select {
			case <-tick:
			case err := <-c.ended:
				return fmt.Errorf("it has ended: %w", err)
			case <-deadline:
				_ = c.nspawn.Process.Kill()
				return errors.Join(fmt.Errorf("not within %s", startTime), <-c.ended)
			}
		}
	}
	return nil
}

func (c *container) wantEnded(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(startTime):
		t.Fatal("systemd-nspawn goes on")
	}
	live.Eventually(t, "no daemon lists it", func() error { return c.listed() })
}

// listed compares what the user's daemon and the system's list.
func (o own) listed(want ...string) error {
	users := o.Command("machinectl", "--user", "--no-legend", "list")
	for _, list := range []*exec.Cmd{users, exec.Command("machinectl", "--no-legend", "list")} {
		out, err := list.Output()
		if err != nil {
			return err
		}
		if names := live.Names(string(out)); !slices.Equal(names, want) {
			return fmt.Errorf("%q lists %q, want %q", list.Args, names, want)
		}
	}
	return nil
}
