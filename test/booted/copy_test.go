package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// copyTree makes what a copy has to keep, and returns where.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, os.MkdirAll(dir+"/sub", 0o750))
	must(t, os.WriteFile(dir+"/a", []byte("text"), 0o640))
	must(t, os.Link(dir+"/a", dir+"/sub/b"))
	must(t, os.Symlink("/etc/shadow", dir+"/link"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, os.WriteFile(dir+"/sub/tool", []byte("tool"), 0o755))
	must(t, os.Chmod(dir+"/sub/tool", 0o755|os.ModeSetuid))
	must(t, os.Chown(dir+"/sub", 1000, 1000))
	return dir
}

// shape has one line for each file below dir, with what a copy keeps, and the
// owners seen from the machine whose root is base on the host.
func shape(t *testing.T, dir string, base uint32) string {
	t.Helper()
	var lines []string
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d", strings.TrimPrefix(path, dir), info.Mode(), stat.Uid-base, stat.Gid-base)
		if !info.IsDir() {
			line += fmt.Sprintf(" %d names", stat.Nlink)
		}
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q %d", text, stat.Mtim.Nano())
		}
		lines = append(lines, line)
		return nil
	}))
	return strings.Join(lines, "\n")
}

// rootDir is the root directory of a machine, seen from the host.
func rootDir(t *testing.T, name string) string {
	t.Helper()
	return "/proc/" + run(t, "machinectl", "show", "--property=Leader", "--value", name) + "/root"
}

func TestCopiesKeepEverythingButOwners(t *testing.T) {
	t.Parallel()
	const name = "copy-ids"
	w := watch(t)
	startGuest(t, name)
	var base uint32
	must(t, w.call(t, "GetMachineUIDShift", []any{name}, &base))
	dir, root := copyTree(t), rootDir(t, name)
	want := strings.ReplaceAll(shape(t, dir, 0), "1000:1000", "0:0")

	for _, to := range []string{"/root/there", "/tmp/there", "/run/there"} {
		must(t, w.call(t, "CopyToMachine", []any{name, dir, to}))
		if got := shape(t, root+to, base); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", to, got, want)
		}
	}
	back := t.TempDir() + "/back"
	must(t, w.call(t, "CopyFromMachine", []any{name, "/root/there", back}))
	if got := shape(t, back, 0); got != want {
		t.Errorf("back it is\n%s\nwant\n%s", got, want)
	}
}

func TestCopiesKeepOwnersInAMachineWithTheHostsIDs(t *testing.T) {
	t.Parallel()
	const name = "copy-host-ids"
	w := watch(t)
	startByHand(t, w, name)
	dir := copyTree(t)
	must(t, w.call(t, "CopyToMachine", []any{name, dir, "/there"}))
	back := t.TempDir() + "/back"
	must(t, w.call(t, "CopyFromMachine", []any{name, "/there", back}))
	if got, want := shape(t, back, 0), shape(t, dir, 0); got != want {
		t.Errorf("back it is\n%s\nwant\n%s", got, want)
	}
}

func TestCopiesKeepWhatExistsUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	const name = "copy-existing"
	w := watch(t)
	startByHand(t, w, name)
	dir, root := copyTree(t), rootDir(t, name)
	must(t, w.call(t, "CopyToMachine", []any{name, dir, "/there"}))
	must(t, os.WriteFile(dir+"/a", []byte("new"), 0o640))
	must(t, os.WriteFile(dir+"/more", []byte("new"), 0o640))
	expect := func(file, want string) {
		t.Helper()
		if got, err := os.ReadFile(root + file); err != nil || string(got) != want {
			t.Errorf("%s has %q (%v), want %q", file, got, err, want)
		}
	}

	must(t, w.call(t, "CopyToMachine", []any{name, dir, "/there"}))
	expect("/there/a", "text")
	expect("/there/more", "new")
	wantError(t, w.call(t, "CopyToMachine", []any{name, dir + "/a", "/there/a"}), syscall.EEXIST)
	expect("/there/a", "text")
	must(t, w.call(t, "CopyToMachineWithFlags", []any{name, dir + "/a", "/there/a", uint64(1)}))
	expect("/there/a", "new")
	must(t, os.WriteFile(dir+"/a", []byte("newer"), 0o640))
	must(t, w.call(t, "CopyToMachineWithFlags", []any{name, dir, "/there", uint64(1)}))
	expect("/there/a", "newer")
	wantError(t, w.call(t, "CopyToMachineWithFlags", []any{name, dir + "/a", "/there/sub", uint64(1)}), syscall.EEXIST)
	wantError(t, w.call(t, "CopyToMachineWithFlags", []any{name, dir, "/there/a", uint64(1)}), syscall.ENOTDIR)
}

func TestCopiesThatAreRefused(t *testing.T) {
	t.Parallel()
	const name = "copy-refused"
	w := watch(t)
	startByHand(t, w, name)
	file := copyTree(t) + "/a"
	for _, test := range []struct {
		what  string
		args  []any
		flags bool
		want  error
	}{
		{"a relative source", []any{name, "etc/hostname", "/x"}, false, machine1.ErrInvalidArgs},
		{"a relative destination", []any{name, file, "x"}, false, machine1.ErrInvalidArgs},
		{"no source", []any{name, "", "/x"}, false, machine1.ErrInvalidArgs},
		{"the root as source", []any{name, "/", "/x"}, false, syscall.EADDRNOTAVAIL},
		{"the root as destination", []any{name, file, "/"}, false, syscall.EADDRNOTAVAIL},
		{"unknown flags", []any{name, file, "/x", uint64(3)}, true, machine1.ErrInvalidArgs},
		{"no such source", []any{name, file + "/none", "/x"}, false, syscall.ENOTDIR},
		{"no such file", []any{name, file + "-none", "/x"}, false, machine1.ErrFileNotFound},
		{"no such place", []any{name, file, "/none/x"}, false, machine1.ErrFileNotFound},
		{"no such machine", []any{name + "-none", file, "/x"}, false, machine1.ErrNoSuchMachine},
		{"the host", []any{".host", file, "/x"}, false, machine1.ErrNotSupported},
	} {
		t.Run(test.what, func(t *testing.T) {
			method := "CopyToMachine"
			if test.flags {
				method += "WithFlags"
			}
			wantError(t, w.call(t, method, test.args), test.want)
		})
	}
}

// The refused ones are what 262 refuses in addition.
func TestNewCopiesWantNormalizedPaths(t *testing.T) {
	t.Parallel()
	const name = "copy-normal"
	w := watch(t)
	startByHand(t, w, name)
	file := copyTree(t) + "/a"
	for _, path := range []string{"/tmp/../x", "/tmp/./x", "/tmp//x"} {
		wantError(t, w.call(t, "CopyToMachine", []any{name, file, path}), machine1.ErrInvalidArgs)
	}
}
