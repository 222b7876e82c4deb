package filetree_test

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// deepTree makes that many directories one below the other, with files before
// and after the next in each, and returns the lowest.
func deepTree(tb testing.TB, dir, name string, depth int) (lowest int) {
	tb.Helper()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(tb, err)
	for range depth {
		must(tb, unix.Mkdirat(at, name, 0o755))
		below, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(tb, err)
		unix.Close(at)
		at = below
		for _, file := range []string{"a", "z", "k"} {
			fd, err := unix.Openat(at, file, unix.O_CREAT|unix.O_WRONLY, 0o644)
			must(tb, err)
			unix.Close(fd)
		}
		name = "d"
	}
	return at
}

// depthOf returns how many directories are one below the other, and how many
// files are in them.
func depthOf(tb testing.TB, dir, name string) (depth, files int) {
	tb.Helper()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(tb, err)
	for {
		below, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(at)
		if err == unix.ENOENT {
			return depth, files
		}
		must(tb, err)
		f := os.NewFile(uintptr(below), name)
		entries, err := f.ReadDir(-1)
		must(tb, err)
		for _, e := range entries {
			if !e.IsDir() {
				files++
			}
		}
		at, err = unix.Dup(below)
		must(tb, err)
		f.Close()
		depth++
		name = "d"
	}
}

// Not parallel: it counts descriptors.
func TestDeepTreesNeedFewDescriptors(t *testing.T) {
	at := tmpfs(t)
	const depth = 3000
	unix.Close(deepTree(t, at, "from", depth))
	dir := openDir(t, at)
	before, most := descriptors(t), new(atomic.Int64)
	o := filetree.CopyOptions{Owner: func(uid, gid uint32) (uint32, uint32, bool) {
		most.Store(max(most.Load(), int64(descriptors(t))))
		return uid, gid, true
	}}
	must(t, filetree.Copy(t.Context(), dir, "from", dir, "to", o))
	if got, files := depthOf(t, at, "to"); got != depth || files != 3*depth {
		t.Errorf("the copy has %d levels and %d files", got, files)
	}
	if used := int(most.Load()) - before; used > 120 {
		t.Errorf("the copy used %d descriptors", used)
	}
	for _, name := range []string{"from", "to"} {
		must(t, filetree.Remove(t.Context(), dir, name))
		if exists(at + "/" + name) {
			t.Errorf("%s is still there", name)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors: %d before, %d after", before, after)
	}
}

func TestATreeThatIsTooDeepIsRefused(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	unix.Close(deepTree(t, at, "from", 4200))
	dir := openDir(t, at)
	err := filetree.Copy(t.Context(), dir, "from", dir, "to", filetree.CopyOptions{})
	if !errors.Is(err, unix.ELOOP) || len(err.Error()) > 2000 {
		text := err.Error()
		t.Errorf("got %d bytes: %.200s … %s", len(text), text, text[max(0, len(text)-200):])
	}
	if exists(at + "/to") {
		t.Error("a part of the copy is left")
	}
	must(t, filetree.Remove(t.Context(), dir, "from"))
}

func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(tb, err)
	return len(entries)
}
