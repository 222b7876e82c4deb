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

	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Everybody is the same on both sides of a copy, there and back, unless all is
// to be root's.
func TestMachdCopiesKeepOwnersAsEachSideSeesThem(t *testing.T) {
	eachKind(t, "copy-owners-", func(t *testing.T, f face, name string, leader any) {
		dir, host := copyTree(t), t.TempDir()
		must(t, os.Chown(dir+"/sub/tool", 1000, 1000))
		must(t, os.Chmod(dir+"/sub/tool", 0o755|os.ModeSetuid))
		mapped := shape(t, dir, 0)
		flat := strings.ReplaceAll(mapped, "1000:1000", "0:0")
		var base uint32
		must(t, call(t, dial(t), "GetMachineUIDShift", []any{name}, &base))
		if base == 0 {
			flat = mapped
		}
		for ownership, want := range map[machd1.Ownership]string{machd1.OwnershipMap: mapped, machd1.OwnershipFlat: flat} {
			there, back := fmt.Sprintf("/root/%s-%s", f.name, ownership), fmt.Sprintf("%s/%s", host, ownership)
			o := machd1.CopyOptions{Ownership: ownership}
			must(t, f.copyTo(t, name, dir, there, o))
			if ownership == machd1.OwnershipMap {
				wantWithin(t, leader, "1000:1000\n1000:1000\n0:0\n", "stat", "-c", "%u:%g", there+"/sub", there+"/sub/tool", there+"/a")
			}
			must(t, f.copyFrom(t, name, there, back, o))
			if got := shape(t, back, 0); got != want {
				t.Errorf("%s: back it is\n%s\nwant\n%s", ownership, got, want)
			}
			wantError(t, f.copyTo(t, name, dir+"/a", there+"/a", o), unix.EEXIST)
			o.Replace = true
			must(t, f.copyTo(t, name, dir+"/a", there+"/a", o))
		}
	})
}

// What is not there is named, and what is in the way, and whose it is.
func TestMachdCopiesNameWhatIsNotThere(t *testing.T) {
	t.Parallel()
	const name = "copy-absent"
	startByHand(t, watch(t), name)
	for _, row := range []struct {
		says  string
		code  int
		words []string
	}{
		{"cannot copy /no/such: there is no directory /no on the host", 1, []string{"copy-to", name, "/no/such", "/root/x"}},
		{"cannot copy /no-such: there is no /no-such on the host", 1, []string{"copy-to", name, "/no-such", "/root/x"}},
		{"cannot copy /etc/hostname: there is no directory /no in the machine", 1, []string{"copy-to", name, "/etc/hostname", "/no/such"}},
		{"cannot copy /no-such: there is no /no-such in the machine", 1, []string{"copy-from", name, "/no-such", "/tmp/x"}},
		{"cannot copy /etc/os-release: there is no directory /no on the host", 1, []string{"copy-from", name, "/etc/os-release", "/no/such"}},
		{"cannot copy /etc/hostname: /etc/os-release is there in the machine already: file exists", 6, []string{"copy-to", name, "/etc/hostname", "/etc/os-release"}},
		{"cannot copy /etc/os-release: /etc/hostname is there on the host already: file exists", 6, []string{"copy-from", name, "/etc/os-release", "/etc/hostname"}},
		{"cannot copy /etc: /etc/os-release in the machine is no directory", 1, []string{"copy-to", name, "/etc", "/etc/os-release"}},
		{"cannot copy /etc: /etc/hostname on the host is no directory", 1, []string{"copy-from", "--force", name, "/etc", "/etc/hostname"}},
	} {
		if o := observe(t, append([]string{"machctl"}, row.words...)...); o.Code != row.code || o.Stderr != "machctl: "+row.says+"\n" {
			t.Errorf("%q: exit status %d, want %d and %q:\n%s", row.words, o.Code, row.code, row.says, o.Stderr)
		}
	}
	if o := observe(t, "machinectl", "copy-to", name, "/etc/hostname", "/etc"); o.Code != 1 || !strings.Contains(o.Stderr, "/etc is a directory in the machine: file exists") {
		t.Errorf("a file in the place of a directory: exit status %d:\n%s", o.Code, o.Stderr)
	}
}

// A user of the host whom the machine cannot have is told, with the file, and
// nothing is left of the copy.
func TestMachdCopiesNameTheOwnerWhoCannotBeHad(t *testing.T) {
	t.Parallel()
	w := watch(t)
	const name = "copy-beyond"
	startByHand(t, w, name, ownIDs["picked"]...)
	dir := copyTree(t)
	must(t, os.Chown(dir+"/sub/b", 70_000, 0))
	for _, f := range faces {
		err := f.copyTo(t, name, dir, "/root/there", machd1.CopyOptions{})
		if !errors.Is(err, unix.EOVERFLOW) || f.name == "D-Bus" && !strings.Contains(err.Error(), "70000") {
			t.Errorf("%s: %v", f.name, err)
		}
		wantWithin(t, w.properties(t, name)["Leader"], "", "ls", "/root")
		must(t, f.copyTo(t, name, dir, "/root/flat-"+f.name, machd1.CopyOptions{Ownership: machd1.OwnershipFlat}))
		wantWithin(t, w.properties(t, name)["Leader"], "", "rm", "-rf", "/root/flat-"+f.name)
	}
}

// bigTree makes a tree that takes a second or more to copy.
func bigTree(t *testing.T) (dir string, files int) {
	t.Helper()
	dir, files = t.TempDir(), 10_000
	for n := range files {
		sub := fmt.Sprintf("%s/tree/%d", dir, n/500)
		if n%500 == 0 {
			must(t, os.MkdirAll(sub, 0o755))
		}
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", sub, n), []byte("content"), 0o644))
	}
	return dir + "/tree", files
}

// A copy from or to a machine that goes is answered, and takes away what it has
// made on the host.
func TestMachdCopiesEndWithTheirMachine(t *testing.T) {
	w := watch(t)
	dir, _ := bigTree(t)
	host := t.TempDir()
	wantCalm(t, pid(t), func() {
		for n, f := range faces {
			name := fmt.Sprintf("copy-ends-%d", n)
			startByHand(t, w, name, ownIDs["given and mapped"]...)
			unit := w.properties(t, name)["Unit"].(string)
			back := host + "/" + f.name
			must(t, f.copyTo(t, name, dir, "/root/whole", machd1.CopyOptions{}))
			ended := make(chan error, 2)
			go func() { ended <- f.copyTo(t, name, dir, "/root/more", machd1.CopyOptions{}) }()
			go func() { ended <- f.copyFrom(t, name, "/root/whole", back, machd1.CopyOptions{}) }()
			eventually(t, "it has begun", func() error {
				_, err := os.Stat(back)
				return err
			})
			run(t, "systemctl", "kill", "--signal=KILL", unit)
			killed := time.Now()
			for range cap(ended) {
				if err := <-ended; err == nil || !isGone(err) {
					t.Errorf("%s: %v", f.name, err)
				}
			}
			if took := time.Since(killed); took > 10*time.Second {
				t.Errorf("%s: answered after %s", f.name, took)
			}
			if _, err := os.Lstat(back); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: something is left of the copy: %v", f.name, err)
			}
			w.await(t, "MachineRemoved", name)
		}
	})
}

// Who asked for a copy on the bus may leave: it goes on.
func TestCopiesGoOnWhenTheCallerLeaves(t *testing.T) {
	w := watch(t)
	const name = "copy-alone"
	startByHand(t, w, name)
	dir, files := bigTree(t)
	conn := dialAs(t, "root")
	conn.Object(machine1.BusName, machine1.ObjectPath).Go(machine1.ManagerInterface+".CopyToMachine", dbus.FlagNoReplyExpected, nil,
		name, dir, "/root/there")
	there := rootDir(t, name) + "/root/there"
	eventually(t, "it has begun", func() error {
		_, err := os.Stat(there)
		return err
	})
	must(t, conn.Close())
	eventually(t, "all is copied", func() error {
		entries, err := os.ReadDir(fmt.Sprintf("%s/%d", there, (files-1)/500))
		if err == nil && len(entries) < 500 {
			err = fmt.Errorf("there are %d files", len(entries))
		}
		return err
	})
}

// Who hangs up on Varlink has changed his mind: it ends, and nothing is left.
func TestMachdCopiesEndWhenTheCallerHangsUp(t *testing.T) {
	w := watch(t)
	const name = "copy-hung-up"
	startByHand(t, w, name)
	dir, _ := bigTree(t)
	there := rootDir(t, name) + "/root/there"
	wantCalm(t, pid(t), func() {
		conn := dialVarlink(t, "root")
		_, err := fmt.Fprintf(conn, `{"method":%q,"parameters":{"name":%q,"source":%q,"destination":"/root/there"}}`+"\x00",
			machd1.MachineVarlink+".CopyTo", name, dir)
		must(t, err)
		eventually(t, "it has begun", func() error {
			_, err := os.Stat(there)
			return err
		})
		must(t, conn.Close())
		eventually(t, "it is gone", func() error {
			if _, err := os.Stat(there); err == nil {
				return errors.New("it is there")
			}
			return nil
		})
	})
}
