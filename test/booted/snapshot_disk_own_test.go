package booted

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sharedImages are images on btrfs that have a large file each: of a tree that is
// no subvolume, of one with another one inside, of a disk.
const sharedImages = `
cp -a $TINY dir
btrfs -q subvolume create sub
cp -a $TINY/. sub
btrfs -q subvolume create sub/var/inner
echo first >sub/var/inner/state
for file in dir/large sub/large disk.raw; do dd if=/dev/urandom of=$file bs=1M count=48 status=none; done`

// TestMachdSnapshotsShareContent has images on a file system that can share what
// they have in common: clones, snapshots and what is restored take no room of
// their own, and those of subvolumes are the kernel's, with what is inside.
func TestMachdSnapshotsShareContent(t *testing.T) {
	mountPoolOf(t, "btrfs", sharedImages)
	taken := usedOnDisk(t)
	cloneAndSnapshot(t, "dir", "btrfs")
	cloneAndSnapshot(t, "sub", "btrfs")
	cloneAndSnapshot(t, "disk", "reflink")
	state := filepath.Join(guests, "sub/var/inner/state")
	must(t, os.WriteFile(state, []byte("second\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(guests, "sub2/var/inner/mine"), nil, 0o644))
	kept := filepath.Join(guests, ".sub@one")
	if from, of := subvolume(t, kept, "Parent UUID"), subvolume(t, filepath.Join(guests, "sub"), "UUID"); from != of {
		t.Errorf("the snapshot is of %s, the image is %s", from, of)
	}
	subvolume(t, filepath.Join(kept, "var/inner"), "UUID")
	if err := os.WriteFile(filepath.Join(kept, "written"), nil, 0o644); err == nil {
		t.Error("a snapshot can be written to")
	}
	restoreAll(t, "dir", "sub", "disk")
	if text, err := os.ReadFile(state); err != nil || string(text) != "first\n" {
		t.Errorf("the subvolume inside has %q: %v", text, err)
	}
	wantShared(t, taken)
	run(t, "machctl", "remove", "-y", "dir", "sub", "disk", "dir2", "sub2", "disk2")
	list := run(t, "machctl", "snapshot", "list", "--format", "{{.image}} {{.snapshot}}")
	for line := range strings.Lines(list) {
		run(t, append([]string{"machctl", "snapshot", "remove"}, strings.Fields(line)...)...)
	}
	if left := run(t, "btrfs", "subvolume", "list", guests); left != "" {
		t.Errorf("there are still\n%s", left)
	}
}

// The same on a file system that shares the content of files, and has no
// subvolumes.
func TestMachdSnapshotsShareContentOfFiles(t *testing.T) {
	mountPoolOf(t, "xfs", `
cp -a $TINY dir
for file in dir/large disk.raw; do dd if=/dev/urandom of=$file bs=1M count=48 status=none; done`)
	taken := usedOnDisk(t)
	cloneAndSnapshot(t, "dir", "reflink")
	cloneAndSnapshot(t, "disk", "reflink")
	state := filepath.Join(guests, "dir/root/state")
	must(t, os.WriteFile(state, []byte("second\n"), 0o644))
	restoreAll(t, "dir", "disk")
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was written later is still there: %v", err)
	}
	wantShared(t, taken)
	run(t, "machctl", "remove", "-y", "dir2", "disk2")
	for _, file := range []string{"dir/large", "disk.raw"} {
		if info, err := os.Stat(filepath.Join(guests, file)); err != nil || info.Size() != 48<<20 {
			t.Errorf("its clone is removed, and %s is %v: %v", file, info, err)
		}
	}
}

// mountPoolOf mounts a pool of its own and runs a script in it, for which the
// image tiny is $TINY.
func mountPoolOf(t *testing.T, kind, script string) {
	t.Helper()
	tiny := filepath.Join(t.TempDir(), "tiny")
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), tiny)
	mountPool(t, kind)
	run(t, "sh", "-ec", "cd "+guests+"; TINY="+tiny+script)
}

// cloneAndSnapshot makes a clone and a snapshot "one" of an image.
func cloneAndSnapshot(t *testing.T, image, kind string) {
	t.Helper()
	run(t, "machctl", "clone", image, image+"2")
	run(t, "machctl", "snapshot", "create", image, "one")
	list := run(t, "machctl", "snapshot", "list", image, "--format", "{{.snapshot}} {{.kind}}")
	if want := "one " + kind; list != want {
		t.Errorf("the snapshots of %s are %q, want %q", image, list, want)
	}
}

func restoreAll(t *testing.T, images ...string) {
	t.Helper()
	for _, image := range images {
		run(t, "machctl", "snapshot", "restore", image, "one")
	}
}

// wantShared: files that are no copies take no room, but for what describes them.
func wantShared(t *testing.T, taken int64) {
	t.Helper()
	if more := usedOnDisk(t) - taken; more > 8<<20 {
		t.Errorf("the copies take %d bytes of their own", more)
	}
}

// subvolume is what the kernel tells of the subvolume whose top this is.
func subvolume(t *testing.T, path, what string) string {
	t.Helper()
	told := regexp.MustCompile(`(?m)^\s+` + what + `:\s+(\S+)$`).FindStringSubmatch(run(t, "btrfs", "subvolume", "show", path))
	if told == nil {
		t.Fatalf("%s has no %s", path, what)
	}
	return told[1]
}

// usedOnDisk is how much of the pool's file system is taken, bytes.
func usedOnDisk(t *testing.T) int64 {
	t.Helper()
	run(t, "sync", "-f", guests)
	var fs unix.Statfs_t
	must(t, unix.Statfs(guests, &fs))
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize
}
