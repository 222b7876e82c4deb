package filetree_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/progress"
)

// metered returns a context with a meter that nobody is told of.
func metered(t *testing.T) (context.Context, *progress.Meter) {
	t.Helper()
	ctx, stop := progress.Watch(t.Context(), func(progress.Report, bool) error { return nil })
	t.Cleanup(stop)
	return ctx, progress.Of(ctx)
}

// countable makes a tree of six names that are no directories, of which five are
// files with 1<<20 + 3 bytes.
func countable(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(path, "a"), "a")
	write(t, filepath.Join(path, "d/b"), "b")
	write(t, filepath.Join(path, "d/d/c"), "c")
	must(t, os.Link(filepath.Join(path, "a"), filepath.Join(path, "d/again")))
	must(t, os.Symlink("a", filepath.Join(path, "link")))
	write(t, filepath.Join(path, "sparse"), "")
	must(t, os.Truncate(filepath.Join(path, "sparse"), 1<<20))
	return path
}

func TestMeterCountsWhatIsCopiedAndRemoved(t *testing.T) {
	t.Parallel()
	source, place := countable(t), t.TempDir()
	ctx, m := metered(t)
	must(t, filetree.Copy(ctx, openDir(t, filepath.Dir(source)), "tree", openDir(t, place), "copy", filetree.CopyOptions{}))
	if got, want := m.Report(), (progress.Report{Bytes: 1<<20 + 3, Files: 6}); got != want {
		t.Errorf("copied %+v, want %+v", got, want)
	}
	ctx, m = metered(t)
	must(t, filetree.Remove(ctx, openDir(t, place), "copy"))
	if got, want := m.Report(), (progress.Report{Files: 6}); got != want {
		t.Errorf("removed %+v, want %+v", got, want)
	}
}

// The first call of Worker is for the walk, the others are for those who copy.
func TestTotalIsToldOfACopyThatTakesLong(t *testing.T) {
	t.Parallel()
	source := countable(t)
	ctx, m := metered(t)
	var calls atomic.Int32
	slow := filetree.CopyOptions{Worker: func(work func() error) error {
		for start := time.Now(); calls.Add(1) > 1 && m.Report().TotalFiles == 0 && time.Since(start) < 10*time.Second; {
			time.Sleep(10 * time.Millisecond)
		}
		return work()
	}}
	must(t, filetree.Copy(ctx, openDir(t, filepath.Dir(source)), "tree", openDir(t, t.TempDir()), "copy", slow))
	want := progress.Report{Bytes: 1<<20 + 3, Files: 6, TotalBytes: 1<<20 + 3, TotalFiles: 6}
	if got := m.Report(); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

func TestTotalIsToldOfARemovalThatTakesLong(t *testing.T) {
	filetree.SetPatience(t, 0)
	source := countable(t)
	ctx, m := metered(t)
	must(t, filetree.Remove(ctx, openDir(t, filepath.Dir(source)), "tree"))
	if got, want := m.Report(), (progress.Report{Files: 6, TotalFiles: 6}); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
}
