package filetree_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// smallDisk returns the path of a file system that is full soon.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	must(t, unix.Mount("test", dir, "tmpfs", 0, options))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestAFullDiskIsToldAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "tree")
	for i := range 40 {
		write(t, fmt.Sprintf("%s/%d/file", source, i), strings.Repeat("x", 64<<10))
	}
	for name, options := range map[string]string{"no room": "size=1m", "no inodes": "nr_inodes=50"} {
		disk := smallDisk(t, options)
		err := copyPath(t, source, filepath.Join(disk, "copy"), filetree.CopyOptions{})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "tree/") {
			t.Errorf("%s: %v", name, err)
		}
		if exists(filepath.Join(disk, "copy")) {
			t.Errorf("%s: something is left", name)
		}
	}
}

// What was there stays, what was complete stays, and no file is there in part.
func TestAFullDiskLeavesNoPartOfAFileInADirectoryThatWasThere(t *testing.T) {
	t.Parallel()
	disk, source := smallDisk(t, "size=1m"), filepath.Join(t.TempDir(), "tree")
	content := strings.Repeat("x", 100<<10)
	for i := range 40 {
		write(t, fmt.Sprintf("%s/%d", source, i), content)
	}
	write(t, filepath.Join(disk, "copy/mine"), "mine")
	if err := copyPath(t, source, filepath.Join(disk, "copy"), merge); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("it ended with %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(disk, "copy"))
	must(t, err)
	for _, e := range entries {
		if text := read(t, filepath.Join(disk, "copy", e.Name())); text != content && e.Name() != "mine" {
			t.Errorf("%s has %d bytes", e.Name(), len(text))
		}
	}
	if got := read(t, filepath.Join(disk, "copy/mine")); got != "mine" {
		t.Errorf("what was there is %q", got)
	}
}

// A file that grows and shrinks as it is copied has been some of what it was.
func TestAFileThatChangesWhileItIsCopied(t *testing.T) {
	t.Parallel()
	const longest = 4 << 20
	source := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(source, "file"), strings.Repeat("x", longest))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		path, content := filepath.Join(source, "file"), []byte(strings.Repeat("x", longest))
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Truncate(path, 1000)
			_ = os.WriteFile(path, content, 0o644)
		}
	}()
	for i := range 50 {
		to := filepath.Join(t.TempDir(), fmt.Sprint(i))
		must(t, copyPath(t, source, to, filetree.CopyOptions{}))
		if n := len(read(t, filepath.Join(to, "file"))); n > longest {
			t.Errorf("%d bytes were copied", n)
		}
	}
	close(stop)
	<-stopped
}

func TestADirectoryOfManyFiles(t *testing.T) {
	t.Parallel()
	const files = 10_000
	source, place := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	must(t, os.Mkdir(source, 0o755))
	for i := range files {
		must(t, os.WriteFile(filepath.Join(source, strings.Repeat("n", i%200)+fmt.Sprint(i)), nil, 0o644))
	}
	to := filepath.Join(place, "copy")
	must(t, copyPath(t, source, to, filetree.CopyOptions{}))
	entries, err := os.ReadDir(to)
	must(t, err)
	if len(entries) != files {
		t.Errorf("there are %d files, want %d", len(entries), files)
	}
	must(t, filetree.Remove(t.Context(), openDir(t, place), "copy"))
	if exists(to) {
		t.Error("it is not removed")
	}
}

// Whoever makes the top directory may make it with any mode.
func TestTheTopHasTheModeOfTheSourceWhoeverMadeIt(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o700, 0o755, 0o711} {
		source, to := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "copy")
		write(t, filepath.Join(source, "file"), "text")
		must(t, os.Chmod(source, mode))
		must(t, copyPath(t, source, to, filetree.CopyOptions{MakeRoot: func(dir *os.File, name string) error {
			return unix.Mkdirat(int(dir.Fd()), name, 0o755)
		}}))
		info, err := os.Stat(to)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("the copy has mode %v, want %v", info.Mode().Perm(), mode)
		}
	}
}
