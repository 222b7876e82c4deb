package booted

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// within runs a command in a container as its root.
func within(t *testing.T, leader any, argv ...string) outcome {
	t.Helper()
	return withinAs(t, leader, 0, argv...)
}

// withinAs runs a command in a container as the user of that number there.
func withinAs(t *testing.T, leader any, id int, argv ...string) outcome {
	t.Helper()
	enter := []string{"nsenter", "--all", "--root", "--wdns=/", fmt.Sprint("--target=", leader), fmt.Sprint("--setuid=", id),
		fmt.Sprint("--setgid=", id)}
	return observe(t, append(enter, argv...)...)
}

// wantWithin checks what a command in a container prints.
func wantWithin(t *testing.T, leader any, want string, argv ...string) {
	t.Helper()
	if o := within(t, leader, argv...); o.Code != 0 || o.Stdout != want {
		t.Errorf("%q in the container: %+v, want %q", argv, o, want)
	}
}

// What people type, and what is there for the container then.
func TestBindShowsTheHost(t *testing.T) {
	t.Parallel()
	const name = "bind-shows"
	w := watch(t)
	startByHand(t, w, name)
	leader := w.properties(t, name)["Leader"]
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", []byte("of the host"), 0o600))
	must(t, os.Symlink("file", dir+"/link"))
	bind := func(argv ...string) { run(t, append([]string{"machinectl", "bind"}, argv...)...) }

	bind(name, dir, "/root")
	wantWithin(t, leader, "of the host", "cat", "/root/file")
	wantWithin(t, leader, "", "touch", "/root/from-inside")
	if _, err := os.Stat(dir + "/from-inside"); err != nil {
		t.Error(err)
	}
	// It takes the place of the one before.
	before := mountsOf(t, fmt.Sprint(leader))
	bind("--read-only", name, dir, "/root")
	if now := mountsOf(t, fmt.Sprint(leader)); len(now) != len(before) {
		t.Errorf("mounts pile up: %q", without(now, before))
	}
	if o := within(t, leader, "touch", "/root/again"); o.Code == 0 || !strings.Contains(o.Stderr, "Read-only") {
		t.Errorf("writing to what is read-only: %+v", o)
	}
	bind("--mkdir", name, dir+"/link", "/srv/some/way/down")
	wantWithin(t, leader, "of the host", "cat", "/srv/some/way/down")
	bind("--mkdir", name, dir)
	wantWithin(t, leader, "of the host", "cat", dir+"/file")
	if o := observe(t, "machinectl", "bind", name, dir, "/no/such/place"); o.Code != 1 || !strings.Contains(o.Stderr, "Failed to bind mount") {
		t.Errorf("without --mkdir: %+v", o)
	}
}

// A file on a link is on the link, wherever that leads to.
func TestBindOnALink(t *testing.T) {
	t.Parallel()
	const name = "bind-link"
	w := watch(t)
	startByHand(t, w, name)
	leader := w.properties(t, name)["Leader"]
	file := t.TempDir() + "/file"
	must(t, os.WriteFile(file, []byte("of the host"), 0o600))
	wantWithin(t, leader, "", "ln", "-sf", "nowhere", "/etc/resolv.conf")
	must(t, w.call(t, "BindMountMachine", []any{name, file, "/etc/resolv.conf", false, false}))
	wantWithin(t, leader, "of the host", "cat", "/etc/resolv.conf")
	wantWithin(t, leader, "", "ln", "-s", "/tmp", "/etc/dir")
	wantError(t, w.call(t, "BindMountMachine", []any{name, t.TempDir(), "/etc/dir", false, false}), machine1.ErrInvalidArgs)
}

// ownIDs are ways to start a container with ids of its own.
var ownIDs = map[string][]string{
	"picked":            {"--private-users=pick", "--private-users-ownership=auto"},
	"given and changed": {"--private-users=1048576:65536", "--private-users-ownership=chown"},
	"given and mapped":  {"--private-users=2000000:65536", "--private-users-ownership=map"},
}

func TestBindIsRefused(t *testing.T) {
	t.Parallel()
	w := watch(t)
	refuse := func(name string, want error, text string) {
		t.Helper()
		err := w.call(t, "BindMountMachine", []any{name, "/etc", "/mnt", true, true})
		if !errors.Is(err, want) || err.Error() != text {
			t.Errorf("%s: %v", name, err)
		}
	}
	for what, options := range ownIDs {
		name := "bind-" + strings.ReplaceAll(what, " ", "-")
		startByHand(t, w, name, options...)
		refuse(name, machine1.ErrNotSupported, "Can't bind mount on container with user namespacing applied.")
	}
	p := startProcess(t, "bind-vm")
	must(t, w.call(t, "RegisterMachine", []any{"bind-vm", []byte{}, "tester", "vm", uint32(p.pid), ""}))
	const onlyContainers = "Bind mounting is only supported on container machines."
	refuse("bind-vm", machine1.ErrNotSupported, onlyContainers)
	refuse(machine1.Host, machine1.ErrNotSupported, onlyContainers)
	refuse("bind-nobody", machine1.ErrNoSuchMachine, "No machine 'bind-nobody' known")
	// A process in the host's mount namespace is no place to mount anything in.
	register(t, w, "bind-service", startProcess(t, "bind-service"))
	wantError(t, w.call(t, "BindMountMachine", []any{"bind-service", "/etc", "/mnt", true, false}), unix.EINVAL)
}

// A user namespace in which all ids are the host's is none.
func TestBindWithTheHostsIDs(t *testing.T) {
	t.Parallel()
	const name = "bind-identity"
	w := watch(t)
	startByHand(t, w, name, "--private-users=identity")
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", nil, 0o600))
	must(t, os.Chown(dir+"/file", 1000, 1001))
	must(t, w.call(t, "BindMountMachine", []any{name, dir, "/root", false, false}))
	wantWithin(t, w.properties(t, name)["Leader"], "1000:1001\n", "stat", "-c", "%u:%g", "/root/file")
}
