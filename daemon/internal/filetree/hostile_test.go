package filetree_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// raceFor is how long each hostile test goes on.
const raceFor = 5 * time.Second

// swap exchanges two names until the test is over.
func swap(tb testing.TB, a, b string) (swaps *atomic.Int64) {
	var stop atomic.Bool
	swaps = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
				swaps.Add(1)
			}
		}
	}()
	tb.Cleanup(func() { stop.Store(true); <-done })
	return swaps
}

// secrets makes a directory that nothing may be read from or written to.
func secrets(tb testing.TB, at string) (path string, check func()) {
	path = at + "/outside"
	for i := range 20 {
		write(tb, fmt.Sprintf("%s/%d", path, i), "secret")
	}
	write(tb, path+"/sub/file", "secret")
	before := strings.Join(describe(tb, path), "\n")
	return path, func() {
		tb.Helper()
		if after := strings.Join(describe(tb, path), "\n"); after != before {
			tb.Errorf("what is outside changed from\n%s\nto\n%s", before, after)
		}
	}
}

func hasSecret(tb testing.TB, dir string) (found bool) {
	tb.Helper()
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		text, _ := os.ReadFile(path)
		found = found || string(text) == "secret"
		return nil
	})
	return found
}

func TestASourceThatIsSwappedForLinksGivesNothingAway(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	outside, check := secrets(t, at)
	source := at + "/tree/source"
	for i := range 20 {
		write(t, fmt.Sprintf("%s/dir/%d", source, i), "public")
	}
	write(t, source+"/dir/sub/file", "public")
	write(t, source+"/file", "public")
	must(t, os.Symlink(outside, source+"/other"))
	must(t, os.Symlink(outside+"/1", source+"/otherfile"))
	must(t, os.Mkdir(at+"/copies", 0o755))
	swaps := []*atomic.Int64{
		swap(t, source+"/dir", source+"/other"),
		swap(t, source+"/file", source+"/otherfile"),
	}
	from, to := openDir(t, at+"/tree"), openDir(t, at+"/copies")
	good, bad := 0, 0
	for end := time.Now().Add(raceFor); time.Now().Before(end); {
		err := filetree.Copy(t.Context(), from, "source", to, "copy", filetree.CopyOptions{})
		if err != nil {
			bad++
		} else {
			good++
		}
		if hasSecret(t, at+"/copies") {
			t.Fatal("a secret was copied")
		}
		if err == nil {
			must(t, filetree.Remove(t.Context(), to, "copy"))
		}
		if exists(at + "/copies/copy") {
			t.Fatalf("a copy is left after %v", err)
		}
	}
	check()
	t.Logf("%d copies, %d refused, %d and %d swaps", good, bad, swaps[0].Load(), swaps[1].Load())
}

func TestATargetThatIsSwappedForLinksStaysInside(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := tmpfs(t)
	outside, check := secrets(t, at)
	for i := range 20 {
		write(t, fmt.Sprintf("%s/source/dir/%d", at, i), "public")
	}
	write(t, at+"/source/dir/sub/file", "public")
	write(t, at+"/source/0", "public")
	must(t, unix.Mkfifo(at+"/source/dir/fifo", 0o666))
	must(t, os.Symlink("x", at+"/source/dir/link"))
	must(t, os.Chown(at+"/source/dir", 7, 7))
	must(t, os.MkdirAll(at+"/target/copy/dir", 0o755))
	must(t, os.Symlink(outside, at+"/target/copy/other"))
	swaps := swap(t, at+"/target/copy/dir", at+"/target/copy/other")
	from, to := openDir(t, at), openDir(t, at+"/target")
	good, bad := 0, 0
	for end := time.Now().Add(raceFor); time.Now().Before(end); {
		if err := filetree.Copy(t.Context(), from, "source", to, "copy", replace); err != nil {
			bad++
		} else {
			good++
		}
	}
	check()
	if good == 0 || bad == 0 {
		t.Errorf("the race was none: %d copies, %d refused", good, bad)
	}
	t.Logf("%d copies, %d refused, %d swaps", good, bad, swaps.Load())
}

func TestARemovalOfWhatIsSwappedForLinksStaysInside(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	outside, check := secrets(t, at)
	must(t, os.MkdirAll(at+"/tree", 0o755))
	dir, rounds := openDir(t, at), 0
	for end := time.Now().Add(raceFor); time.Now().Before(end); rounds++ {
		write(t, at+"/tree/dir/sub/file", "public")
		os.Symlink(outside, at+"/tree/other")
		done, ready := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := range 20 {
				unix.Renameat2(unix.AT_FDCWD, at+"/tree/dir", unix.AT_FDCWD, at+"/tree/other", unix.RENAME_EXCHANGE)
				if i == 0 {
					close(ready)
				}
			}
		}()
		<-ready
		filetree.Remove(t.Context(), dir, "tree")
		<-done
		must(t, os.RemoveAll(at+"/tree"))
	}
	check()
	t.Logf("%d removals", rounds)
}

// A directory that is moved out of a deep tree while the copy is below it: the
// way back must not lead elsewhere.
func TestADeepTreeThatIsMovedMeanwhile(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	_, check := secrets(t, at)
	unix.Close(deepTree(t, at, "from", 200))
	must(t, os.MkdirAll(at+"/elsewhere/place", 0o755))
	dir := openDir(t, at)
	low := at + "/from" + strings.Repeat("/d", 60)
	swaps := swap(t, low, at+"/elsewhere/place")
	good, bad := 0, 0
	for end := time.Now().Add(raceFor); time.Now().Before(end); {
		err := filetree.Copy(t.Context(), dir, "from", dir, "to", filetree.CopyOptions{})
		if err != nil {
			bad++
		} else {
			good++
			must(t, filetree.Remove(t.Context(), dir, "to"))
		}
		if exists(at + "/to") {
			t.Fatalf("a copy is left after %v", err)
		}
	}
	check()
	t.Logf("%d copies, %d refused, %d swaps", good, bad, swaps.Load())
}
