package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/btrfs/btrfstest"
)

func TestASubvolumeIsMadeDescribedAndDeleted(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	dir := open(t, top)
	must(t, btrfs.Create(dir, "a"))
	a := open(t, top+"/a")
	if ok, err := btrfs.IsSubvolume(a); !ok || err != nil {
		t.Fatalf("IsSubvolume: got %v, %v", ok, err)
	}
	info, err := btrfs.Describe(a)
	must(t, err)
	if info.ID < 256 || info.Parent != 5 || info.ReadOnly || info.Created == 0 || info.Changed < info.Created {
		t.Errorf("got %+v", info)
	}
	must(t, btrfs.SetReadOnly(a, true))
	if ro, err := btrfs.ReadOnly(a); !ro || err != nil {
		t.Errorf("ReadOnly: got %v, %v", ro, err)
	}
	must(t, btrfs.Delete(t.Context(), dir, "a"))
	absent(t, top+"/a")
}

func TestSnapshotsContainThoseInside(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("read-only %v", readOnly), func(t *testing.T) {
			t.Parallel()
			top := btrfstest.Mount(t)
			dir := open(t, top)
			must(t, btrfs.Create(dir, "a"))
			must(t, os.MkdirAll(top+"/a/var/lib", 0o755))
			must(t, btrfs.Create(open(t, top+"/a/var/lib"), "machines"))
			must(t, btrfs.Create(open(t, top+"/a"), "srv"))
			must(t, os.WriteFile(top+"/a/var/lib/machines/file", []byte("deep"), 0o644))

			must(t, btrfs.Snapshot(t.Context(), open(t, top+"/a"), dir, "b", readOnly))
			if got, err := os.ReadFile(top + "/b/var/lib/machines/file"); string(got) != "deep" {
				t.Errorf("in the snapshot: got %q, %v", got, err)
			}
			for _, name := range []string{"/b", "/b/srv", "/b/var/lib/machines"} {
				if ro, err := btrfs.ReadOnly(open(t, top+name)); ro != readOnly || err != nil {
					t.Errorf("%s is read-only: got %v, %v; want %v", name, ro, err, readOnly)
				}
			}
			must(t, btrfs.Delete(t.Context(), dir, "b"))
			absent(t, top+"/b")
		})
	}
}

func TestASnapshotInsideItsSourceDoesNotContainItself(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	must(t, btrfs.Create(open(t, top), "a"))
	must(t, btrfs.Create(open(t, top+"/a"), "in"))
	must(t, btrfs.Snapshot(t.Context(), open(t, top+"/a"), open(t, top+"/a"), "b", false))
	if _, err := os.Stat(top + "/a/b/in"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(top + "/a/b/b"); err == nil {
		t.Errorf("the snapshot contains itself: %v", entries)
	}
}

func TestManyInsideAreFound(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	must(t, btrfs.Create(open(t, top), "a"))
	a := open(t, top+"/a")
	const many = 300 // more than the kernel tells at a time
	for n := range many {
		must(t, btrfs.Create(a, fmt.Sprintf("sub%d", n)))
	}
	must(t, btrfs.Snapshot(t.Context(), a, open(t, top), "b", false))
	for n := range many {
		if ok, err := btrfs.IsSubvolume(open(t, fmt.Sprintf("%s/b/sub%d", top, n))); !ok || err != nil {
			t.Fatalf("sub%d: got %v, %v", n, ok, err)
		}
	}
	must(t, btrfs.Delete(t.Context(), open(t, top), "b"))
	absent(t, top+"/b")
}

func TestAnEndedSnapshotLeavesNothing(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	must(t, btrfs.Create(open(t, top), "a"))
	must(t, btrfs.Create(open(t, top+"/a"), "in"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := btrfs.Snapshot(ctx, open(t, top+"/a"), open(t, top), "b", false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	absent(t, top+"/b")
}

func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	must(t, os.Mkdir(top+"/plain", 0o755))
	dir := open(t, top)
	if err := btrfs.Delete(t.Context(), dir, "plain"); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Delete: got %v", err)
	}
	if err := btrfs.Snapshot(t.Context(), open(t, top+"/plain"), dir, "b", false); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Snapshot: got %v", err)
	}
	must(t, btrfs.Create(dir, "real"))
	must(t, os.Symlink("real", top+"/link"))
	if err := btrfs.Delete(t.Context(), dir, "link"); err == nil {
		t.Error("Delete has followed a link")
	}
	if err := btrfs.Create(open(t, "/proc"), "a"); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("Create: got %v", err)
	}
}

func TestQuotaGroupsAreArranged(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	dir := open(t, top)
	must(t, btrfs.Create(dir, "pool"))
	pool := open(t, top+"/pool")
	if _, err := btrfs.Subtree(pool); !errors.Is(err, unix.ENODATA) {
		t.Errorf("before quota is on: got %v", err)
	}
	must(t, btrfs.EnableQuota(dir))
	must(t, btrfs.Arrange(pool))
	must(t, btrfs.LimitSubtree(pool, 64<<20))
	must(t, btrfs.Create(pool, "a"))
	a := open(t, top+"/pool/a")
	must(t, btrfs.Arrange(a))
	must(t, btrfs.Limit(a, 32<<20))
	must(t, btrfs.LimitSubtree(a, 16<<20))

	poolInfo, err := btrfs.Describe(pool)
	must(t, err)
	info, err := btrfs.Describe(a)
	must(t, err)
	groups := qgroups(t, top)
	want := fmt.Sprintf("0/%d in 254/%d, 254/%d in 255/%d, 0/%d in 255/%d",
		info.ID, info.ID, info.ID, poolInfo.ID, poolInfo.ID, poolInfo.ID)
	for _, relation := range strings.Split(want, ", ") {
		if !strings.Contains(groups, relation) {
			t.Errorf("missing %q in:\n%s", relation, groups)
		}
	}
	quota, err := btrfs.Subtree(a)
	if must(t, err); quota.ReferencedLimit != 16<<20 || quota.ExclusiveLimit != btrfs.Unknown {
		t.Errorf("limits of a: got %+v", quota)
	}

	must(t, btrfs.Snapshot(t.Context(), a, pool, "b", false))
	quota, err = btrfs.Subtree(open(t, top+"/pool/b"))
	if must(t, err); quota.ReferencedLimit != 16<<20 {
		t.Errorf("limits of the snapshot: got %+v", quota)
	}
	must(t, btrfs.LimitSubtree(a, btrfs.Unknown))
	quota, err = btrfs.Subtree(a)
	if must(t, err); quota.ReferencedLimit != btrfs.Unknown {
		t.Errorf("without a limit: got %+v", quota)
	}
	must(t, btrfs.Delete(t.Context(), pool, "a"))
	// A recent kernel removes the group of level 0 by itself, some time
	// after the last block is gone.
	if groups := qgroups(t, top); strings.Contains(groups, fmt.Sprintf("254/%d", info.ID)) {
		t.Errorf("groups of what was deleted stay:\n%s", groups)
	}
}

func TestALimitHolds(t *testing.T) {
	t.Parallel()
	top := btrfstest.Mount(t)
	must(t, btrfs.EnableQuota(open(t, top)))
	must(t, btrfs.Create(open(t, top), "a"))
	a := open(t, top+"/a")
	must(t, btrfs.Arrange(a))
	must(t, btrfs.LimitSubtree(a, 4<<20))
	err := os.WriteFile(top+"/a/big", make([]byte, 32<<20), 0o644)
	if err == nil {
		err = exec.Command("sync", "-f", top+"/a/big").Run()
	}
	if !errors.Is(err, unix.EDQUOT) {
		t.Errorf("got %v, want EDQUOT", err)
	}
}

// qgroups returns lines "GROUP in PARENT" as btrfs-progs sees them.
func qgroups(t *testing.T, top string) string {
	t.Helper()
	out, err := exec.Command("btrfs", "qgroup", "show", "--sync", "-p", top).Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(string(out), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		for _, parent := range strings.Split(fields[3], ",") {
			lines = append(lines, fields[0]+" in "+parent)
		}
	}
	return strings.Join(lines, "\n")
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Clean(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}
