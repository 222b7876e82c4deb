package booted

import (
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
	tiny := filepath.Join(t.TempDir(), "tiny")
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), tiny)
	mountPool(t, "btrfs")
	run(t, "sh", "-ec", "cd "+guests+"; TINY="+tiny+sharedImages)
	taken := usedOnDisk(t)
	for _, c := range []struct{ image, kind string }{{"dir", "btrfs"}, {"sub", "btrfs"}, {"disk", "reflink"}} {
		run(t, "machctl", "clone", c.image, c.image+"2")
		run(t, "machctl", "snapshot", "create", c.image, "one")
		list := run(t, "machctl", "snapshot", "list", c.image, "--format", "{{.snapshot}} {{.kind}}")
		if want := "one " + c.kind; list != want {
			t.Errorf("the snapshots of %s are %q, want %q", c.image, list, want)
		}
	}
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
	for _, image := range []string{"dir", "sub", "disk"} {
		run(t, "machctl", "snapshot", "restore", image, "one")
	}
	if text, err := os.ReadFile(state); err != nil || string(text) != "first\n" {
		t.Errorf("the subvolume inside has %q: %v", text, err)
	}
	if more := usedOnDisk(t) - taken; more > 8<<20 {
		t.Errorf("the copies take %d bytes of their own", more)
	}
	run(t, "machctl", "remove", "-y", "dir", "sub", "disk", "dir2", "sub2", "disk2")
	list := run(t, "machctl", "snapshot", "list", "--format", "{{.image}} {{.snapshot}}")
	for line := range strings.Lines(list) {
		run(t, append([]string{"machctl", "snapshot", "remove"}, strings.Fields(line)...)...)
	}
	if left := run(t, "btrfs", "subvolume", "list", guests); left != "" {
		t.Errorf("there are still\n%s", left)
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
