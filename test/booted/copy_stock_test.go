package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A copyTrial is a copy between the host and a container. Its names are below a
// directory on either side, but for those that begin with a slash.
type copyTrial struct {
	toMachine           bool
	source, destination string
	replace             bool
}

// copyTrials are all kinds of sources, and of destinations.
func copyTrials() (trials []copyTrial) {
	add := func(sources, destinations []string, replace ...bool) {
		for _, toMachine := range []bool{false, true} {
			for _, source := range sources {
				for _, destination := range destinations {
					for _, r := range replace {
						trials = append(trials, copyTrial{toMachine, source, destination, r})
					}
				}
			}
		}
	}
	add([]string{"file", "full"}, []string{"missing", "file", "full", "to-file", "to-full", "dangling", "fifo"}, false, true)
	add([]string{"file"}, []string{"to-parent/missing", "no/missing"}, false)
	add([]string{"to-file", "to-full", "dangling", "fifo", "null", "socket"}, []string{"missing", "file"}, false, true)
	add([]string{"missing", "to-parent/file", "file/x", "full/", "/", "//", "/..", "/proc/sys/kernel/hostname", "/sys/kernel/notes"},
		[]string{"missing"}, false)
	add([]string{"file"}, []string{"/", "//", "/.."}, false)
	return trials
}

// makeCopyThings makes one of everything that can be copied or copied to in
// dir, all but two files owned by root. Those of different salts are told apart.
func makeCopyThings(t *testing.T, dir, salt string, root int) {
	t.Helper()
	must(t, errors.Join(
		os.MkdirAll(dir+"/full/"+salt, 0o751), os.Mkdir(dir+"/parent", 0o755), os.Mkdir(dir+"/full/both", 0o700),
		os.WriteFile(dir+"/full/file", []byte(salt), 0o600), os.WriteFile(dir+"/full/both/"+salt, []byte(salt), 0o604),
		os.WriteFile(dir+"/file", []byte(salt), 0o640), os.WriteFile(dir+"/parent/file", []byte(salt), 0o600),
		os.Symlink("file", dir+"/to-file"), os.Symlink("full", dir+"/to-full"), os.Symlink("nowhere-"+salt, dir+"/dangling"),
		os.Symlink("parent", dir+"/to-parent"), unix.Mkfifo(dir+"/fifo", 0o600),
		unix.Mknod(dir+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.Mknod(dir+"/socket", unix.S_IFSOCK|0o600, 0),
	))
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		owner := root
		if filepath.Base(path) == "file" {
			owner += 1000
		}
		return errors.Join(err, os.Lchown(path, owner, owner))
	}))
}

// playCopies makes the copies, and tells what came of each.
func playCopies(t *testing.T, name string, trials []copyTrial, options ...string) (told []string) {
	t.Helper()
	w := watch(t)
	startByHand(t, w, name, options...)
	var base uint32
	must(t, w.call(t, "GetMachineUIDShift", []any{name}, &base))
	root, host := fmt.Sprintf("/proc/%v/root", w.properties(t, name)["Leader"]), t.TempDir()
	for n, trial := range trials {
		here, there := fmt.Sprintf("%s/%d", host, n), fmt.Sprintf("/srv/%d", n)
		makeCopyThings(t, here, "host", 0)
		makeCopyThings(t, root+there, "machine", int(base))
		from, to, seen, member := there, here, here, "CopyFromMachine"
		if trial.toMachine {
			from, to, seen, member = here, there, root+there, "CopyToMachine"
		}
		args := []any{name, pathOf(from, trial.source), pathOf(to, trial.destination)}
		if trial.replace {
			member, args = member+"WithFlags", append(args, uint64(1))
		}
		before, result := contentsOf(t, seen), "done"
		if err := w.call(t, member, args); err != nil {
			result = machine1.ErrorName(err)
		}
		after := contentsOf(t, seen)
		told = append(told, fmt.Sprintf("%s %q to %q: %s, gone %q, made %q", member, trial.source, trial.destination, result,
			without(before, after), without(after, before)))
	}
	return told
}

// contentsOf tells the files below a directory, and what is in them.
func contentsOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	for _, file := range treeOf(t, dir) {
		path, how, _ := strings.Cut(file, " ")
		if target, err := os.Readlink(dir + path); err == nil {
			how += " to " + target
		} else if how[0] == '-' {
			text, err := os.ReadFile(dir + path)
			must(t, err)
			how += " with " + string(text)
		}
		files = append(files, path+" "+how)
	}
	return files
}

func TestMachdCopiesAreStocks(t *testing.T) {
	trials := copyTrials()
	// What it is that is copied makes no difference to its owner.
	flat := slices.DeleteFunc(slices.Clone(trials), func(c copyTrial) bool {
		return c.source != "full" && c.source != "file" || !slices.Contains([]string{"missing", "file", "full"}, c.destination)
	})
	useStock(t)
	want := playCopies(t, "copy-under-stock", trials)
	wantFlat := playCopies(t, "copy-flat-under-stock", flat, ownIDs["given and changed"]...)
	useMachd(t)
	got := playCopies(t, "copy-under-machd", trials)
	gotFlat := playCopies(t, "copy-flat-under-machd", flat, ownIDs["given and changed"]...)
	wantSame(t, want, got, copiesApart)
	wantSame(t, wantFlat, gotFlat, nil)
}

// copiesApart are where machd's copies are not systemd-machined's, on purpose.
var copiesApart = []apart{
	{`"full" to "dangling"`, 0, 0, "System.Error.ENOTDIR", "that is what is in the way"},
	{`"//"`, 258, 0, "org.freedesktop.DBus.Error.InvalidArgs", "as 262 says"},
	{`CopyFromMachine "/proc/sys/kernel/hostname"`, 0, 0, "org.freedesktop.DBus.Error.NotSupported", "a machine's link could have the host's kernel read"},
	{`CopyFromMachine "/sys/kernel/notes"`, 0, 0, "org.freedesktop.DBus.Error.NotSupported", "a machine's link could have the host's kernel read"},
}
