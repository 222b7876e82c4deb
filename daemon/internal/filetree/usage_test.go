package filetree_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// du is what du(1) says.
func du(tb testing.TB, path string) uint64 {
	tb.Helper()
	out, err := exec.Command("du", "-s", "-B1", path).Output()
	must(tb, err)
	n, err := strconv.ParseUint(strings.Fields(string(out))[0], 10, 64)
	must(tb, err)
	return n
}

func TestUsageIsThatOfDu(t *testing.T) {
	t.Parallel()
	tree := countable(t)
	must(t, unix.Mkfifo(tree+"/fifo", 0o600))
	for name, path := range map[string]string{"tree": tree, "file": tree + "/a", "link": tree + "/link"} {
		got, err := filetree.Usage(t.Context(), openDir(t, filepath.Dir(path)), filepath.Base(path))
		if want := du(t, path); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
	if _, err := filetree.Usage(t.Context(), openDir(t, tree), "nothing"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("of nothing: %v", err)
	}
}

// Not parallel: it counts descriptors.
func TestUsageOfADeepTree(t *testing.T) {
	at := tmpfs(t)
	const depth, size = 3000, 1 << 20
	lowest := deepTree(t, at, "tree", depth)
	fd, err := unix.Openat(lowest, "full", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(fd, make([]byte, size))
	must(t, err)
	unix.Close(fd)
	unix.Close(lowest)
	dir, before := openDir(t, at), descriptors(t)
	for range 2 {
		if got, err := filetree.Usage(t.Context(), dir, "tree"); got != size || err != nil {
			t.Errorf("got %d, %v; want %d", got, err, size)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors: %d before, %d after", before, after)
	}
	must(t, filetree.Remove(t.Context(), dir, "tree"))
}

// What comes and goes is no reason not to tell the rest.
func TestUsageOfWhatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	tree := filepath.Join(t.TempDir(), "tree")
	write(t, tree+"/file", "x")
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			for i := range 50 {
				name := tree + "/" + strconv.Itoa(i)
				if i%2 == 0 {
					_ = os.WriteFile(name, nil, 0o644)
				} else {
					_ = os.MkdirAll(name+"/below", 0o755)
				}
			}
			for i := range 50 {
				_ = os.RemoveAll(tree + "/" + strconv.Itoa(i))
			}
		}
	}()
	dir := openDir(t, filepath.Dir(tree))
	for range 300 {
		if _, err := filetree.Usage(t.Context(), dir, "tree"); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	<-done
}
