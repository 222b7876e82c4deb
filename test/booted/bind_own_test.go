package booted

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A face is a way to call what machd can do beyond systemd-machined.
type face struct {
	name     string
	bind     func(t *testing.T, machine, source, destination string, o machd1.BindOptions) error
	unbind   func(t *testing.T, machine, destination string) error
	copyTo   func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error
	copyFrom func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error
}

// faces are D-Bus and Varlink.
var faces = []face{
	{
		name: "D-Bus",
		bind: func(t *testing.T, machine, source, destination string, o machd1.BindOptions) error {
			return callOwn(t, "BindMount", machine, source, destination, o.Variants())
		},
		unbind: func(t *testing.T, machine, destination string) error {
			return callOwn(t, "Unbind", machine, destination, map[string]dbus.Variant{})
		},
		copyTo: func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error {
			return callOwn(t, "CopyTo", machine, source, destination, o.Variants())
		},
		copyFrom: func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error {
			return callOwn(t, "CopyFrom", machine, source, destination, o.Variants())
		},
	},
	{
		name: "Varlink",
		bind: func(t *testing.T, machine, source, destination string, o machd1.BindOptions) error {
			return varlinkOwn(t, "BindMount", `{"name":%q,"source":%q,"destination":%q,"readOnly":%v,"mkdir":%v}`,
				machine, source, destination, o.ReadOnly, o.MakeDir)
		},
		unbind: func(t *testing.T, machine, destination string) error {
			return varlinkOwn(t, "Unbind", `{"name":%q,"destination":%q}`, machine, destination)
		},
		copyTo: func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error {
			return varlinkCopy(t, "CopyTo", machine, source, destination, o)
		},
		copyFrom: func(t *testing.T, machine, source, destination string, o machd1.CopyOptions) error {
			return varlinkCopy(t, "CopyFrom", machine, source, destination, o)
		},
	},
}

func callOwn(t *testing.T, member string, in ...any) error {
	t.Helper()
	return bus.Call(t.Context(), dial(t), manager, machd1.ManagerInterface+"."+member, false, in)
}

func varlinkOwn(t *testing.T, member, format string, args ...any) error {
	t.Helper()
	parameters, err := varlinkCall(t, "root", machd1.MachineVarlink+"."+member, fmt.Sprintf(format, args...))
	if number, ok := parameters["errno"].(float64); err != nil && ok {
		return errors.Join(err, unix.Errno(number))
	}
	return err
}

func varlinkCopy(t *testing.T, member, machine, source, destination string, o machd1.CopyOptions) error {
	t.Helper()
	if o.Ownership == "" {
		o.Ownership = machd1.OwnershipMap
	}
	return varlinkOwn(t, member, `{"name":%q,"source":%q,"destination":%q,"replace":%v,"ownership":%q}`,
		machine, source, destination, o.Replace, o.Ownership)
}

// allIDs are the ways to start a container, also with the host's ids.
func allIDs() map[string][]string {
	all := map[string][]string{"the host's": nil}
	for what, options := range ownIDs {
		all[what] = options
	}
	return all
}

// kindName is what allIDs calls a kind, as a part of a machine's name.
func kindName(what string) string { return strings.NewReplacer(" ", "-", "'", "").Replace(what) }

// eachKind runs a test in a container of each kind, and over each face.
func eachKind(t *testing.T, prefix string, test func(t *testing.T, f face, name string, leader any)) {
	for what, options := range allIDs() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			name := prefix + kindName(what)
			startByHand(t, w, name, options...)
			for _, f := range faces {
				t.Run(f.name, func(t *testing.T) { test(t, f, name, w.properties(t, name)["Leader"]) })
			}
		})
	}
}

// wantOwner checks who owns a file of the host.
func wantOwner(t *testing.T, path string, want uint32) {
	t.Helper()
	var stat unix.Stat_t
	must(t, unix.Lstat(path, &stat))
	if stat.Uid != want || stat.Gid != want {
		t.Errorf("%s is %d:%d, want %d", path, stat.Uid, stat.Gid, want)
	}
}

// Everybody is the same on both sides of a bind mount.
func TestMachdBindsKeepOwners(t *testing.T) {
	eachKind(t, "bind-owners-", func(t *testing.T, f face, name string, leader any) {
		dir, parent := t.TempDir(), "/srv/"+f.name
		there := parent + "/there"
		must(t, os.Chmod(dir, 0o777))
		for file, owner := range map[string]int{"of-root": 0, "of-user": 1000} {
			must(t, os.WriteFile(dir+"/"+file, []byte(file), 0o600))
			must(t, os.Chown(dir+"/"+file, owner, owner))
		}
		must(t, f.bind(t, name, dir, there, machd1.BindOptions{MakeDir: true}))
		wantWithin(t, leader, "0:0\n1000:1000\n0:0\n", "stat", "-c", "%u:%g", there+"/of-root", there+"/of-user", parent)
		wantWithin(t, leader, "of-root", "cat", there+"/of-root")
		if o := withinAs(t, leader, 1000, "cat", there+"/of-user"); o.Stdout != "of-user" {
			t.Errorf("a user of the machine reads what is his: %+v", o)
		}
		if o := withinAs(t, leader, 1000, "cat", there+"/of-root"); o.Code == 0 {
			t.Errorf("a user of the machine reads what is root's: %+v", o)
		}
		wantWithin(t, leader, "", "touch", there+"/roots-new")
		withinAs(t, leader, 1000, "touch", there+"/users-new")
		wantOwner(t, dir+"/roots-new", 0)
		wantOwner(t, dir+"/users-new", 1000)

		must(t, f.bind(t, name, dir, there, machd1.BindOptions{ReadOnly: true}))
		if o := within(t, leader, "touch", there+"/more"); o.Code == 0 || !strings.Contains(o.Stderr, "Read-only") {
			t.Errorf("writing to what is read-only: %+v", o)
		}
		must(t, f.unbind(t, name, there))
		wantWithin(t, leader, "", "ls", there)
		wantError(t, f.unbind(t, name, there), unix.EINVAL)
	})
}

// What is in use goes on in use, and is gone for everybody else.
func TestMachdUnbindsWhatIsInUse(t *testing.T) {
	eachKind(t, "bind-busy-", func(t *testing.T, f face, name string, leader any) {
		dir, there := t.TempDir(), "/srv/"+f.name
		must(t, os.WriteFile(dir+"/file", []byte("of the host"), 0o600))
		must(t, f.bind(t, name, dir, there, machd1.BindOptions{MakeDir: true}))
		const script = "cd $0 && exec 3<file && touch ready && while test ! -e go; do usleep 10000; done; cat <&3 && pwd"
		used := make(chan outcome, 1)
		go func() { used <- within(t, leader, "sh", "-c", script, there) }()
		eventually(t, "it is in use", func() error {
			_, err := os.Stat(dir + "/ready")
			return err
		})
		must(t, f.unbind(t, name, there))
		wantWithin(t, leader, "", "ls", there)
		must(t, os.WriteFile(dir+"/go", nil, 0o600))
		if o := <-used; o.Code != 0 || !strings.HasPrefix(o.Stdout, "of the host") {
			t.Errorf("who used it: %+v", o)
		}
		wantError(t, f.unbind(t, name, there), unix.EINVAL)
	})
}

// Nothing but our own mounts is taken away, and only from where it is seen.
func TestMachdUnbindsItsOwnOnly(t *testing.T) {
	eachKind(t, "bind-foreign-", func(t *testing.T, f face, name string, leader any) {
		dir, there := t.TempDir(), "/srv/"+f.name
		must(t, os.Mkdir(dir+"/sub", 0o755))
		must(t, f.bind(t, name, dir, there, machd1.BindOptions{MakeDir: true}))
		before := mountsOf(t, fmt.Sprint(leader))
		for _, path := range []string{"/", "/proc", "/dev", "/dev/null", "/tmp", "/run", there + "/sub", "/srv"} {
			wantError(t, f.unbind(t, name, path), unix.EINVAL)
		}
		wantWithin(t, leader, "", "mount", "-t", "tmpfs", "tmpfs", there)
		wantError(t, f.unbind(t, name, there), unix.EINVAL)
		wantWithin(t, leader, "", "umount", there)
		now := mountsOf(t, fmt.Sprint(leader))
		for _, lost := range without(before, now) {
			if !strings.HasPrefix(lost, "/run/host/") { // systemd-nspawn clears up there when all is mounted
				t.Errorf("lost: %s", lost)
			}
		}
		must(t, f.unbind(t, name, there))
	})
}

// A daemon that was killed still knows what it has mounted, whatever was in its
// place meanwhile.
func TestMachdUnbindsAfterARestart(t *testing.T) {
	w := watch(t)
	const name = "bind-restart"
	startByHand(t, w, name, ownIDs["picked"]...)
	leader := w.properties(t, name)["Leader"]
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/file", []byte("of the host"), 0o644))
	for _, f := range faces {
		must(t, f.bind(t, name, dir, "/srv/"+f.name, machd1.BindOptions{MakeDir: true}))
	}
	must(t, faces[0].bind(t, name, dir+"/file", "/srv/file", machd1.BindOptions{MakeDir: true}))
	w.kill(t)
	wantDaemon(t, machd)
	useStock(t)
	useMachd(t)
	for _, f := range faces {
		there := "/srv/" + f.name
		wantWithin(t, leader, "of the host", "cat", there+"/file")
		must(t, f.unbind(t, name, there))
		wantWithin(t, leader, "", "ls", there)
	}
	wantError(t, faces[0].unbind(t, name, "/tmp"), unix.EINVAL)
	must(t, faces[1].unbind(t, name, "/srv/file"))
	wantWithin(t, leader, "", "cat", "/srv/file")
}

// A machine that goes while something is mounted in it costs nobody anything.
func TestMachdBindsWhileTheMachineGoes(t *testing.T) {
	w := watch(t)
	wantCalm(t, pid(t), func() {
		for what, options := range allIDs() {
			name := "bind-going-" + kindName(what)
			startByHand(t, w, name, options...)
			unit := w.properties(t, name)["Unit"].(string)
			dir, results := t.TempDir(), make(chan error)
			for n := range 4 {
				go func() { results <- bindWhileThere(t, faces[n%len(faces)], name, dir, fmt.Sprintf("/srv/%d", n)) }()
			}
			time.Sleep(200 * time.Millisecond)
			run(t, "systemctl", "kill", "--signal=KILL", unit)
			for range 4 {
				select {
				case err := <-results:
					if !isGone(err) {
						t.Errorf("%s: %v", what, err)
					}
				case <-time.After(patience):
					t.Errorf("%s: a call is not answered", what)
				}
			}
			w.await(t, "MachineRemoved", name)
			must(t, os.Remove(dir)) // nothing is mounted from it any more
		}
	})
}

// bindWhileThere mounts and unmounts as long as there is a machine for it.
func bindWhileThere(t *testing.T, f face, machine, source, destination string) error {
	for {
		if err := f.bind(t, machine, source, destination, machd1.BindOptions{MakeDir: true}); err != nil {
			return err
		}
		if err := f.unbind(t, machine, destination); err != nil {
			return err
		}
	}
}

// isGone reports whether an error of either face says that the machine is gone.
func isGone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, machine1.ErrNoSuchMachine) || err.Error() == "io.systemd.Machine.NoSuchMachine"
}
