package filetree_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root")
	}
}

func openDir(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// copyPath copies by path, as tests like to.
func copyPath(tb testing.TB, from, to string, o filetree.CopyOptions) error {
	tb.Helper()
	source, target := openDir(tb, filepath.Dir(from)), openDir(tb, filepath.Dir(to))
	return filetree.Copy(tb.Context(), source, filepath.Base(from), target, filepath.Base(to), o)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// write makes a file with a text, and its directories.
func write(tb testing.TB, path, text string) {
	tb.Helper()
	must(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	must(tb, os.WriteFile(path, []byte(text), 0o644))
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	must(tb, err)
	return string(text)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tmpfs returns the path of a new one that goes with the test.
func tmpfs(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, ""); err != nil {
		tb.Skipf("cannot mount here: %v", err)
	}
	tb.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// loop returns the path of a new file system of that type in a file.
func loop(tb testing.TB, fstype string) string {
	tb.Helper()
	dir, image := tb.TempDir(), filepath.Join(tb.TempDir(), "image")
	must(tb, os.WriteFile(image, nil, 0o600))
	must(tb, os.Truncate(image, 512<<20))
	mkfs := exec.Command("mkfs."+fstype, "-q", image)
	if out, err := mkfs.CombinedOutput(); err != nil {
		tb.Skipf("cannot make %s here: %v %s", fstype, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		tb.Skipf("cannot mount %s here: %v %s", fstype, err, out)
	}
	tb.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	return dir
}

// describe returns one line for each file below dir, with all that a copy
// must keep.
func describe(tb testing.TB, dir string) []string {
	tb.Helper()
	var lines []string
	first := map[uint64]string{} // of each inode with several names
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		line := fmt.Sprintf("%q %o %d:%d %d.%09d", name, stat.Mode, stat.Uid, stat.Gid, stat.Mtim.Sec, stat.Mtim.Nsec)
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x %s", stat.Size, sha256.Sum256(content), spans(tb, path))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %x", stat.Rdev)
		}
		if stat.Nlink > 1 && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			if first[stat.Ino] == "" {
				first[stat.Ino] = name
			}
			line += fmt.Sprintf(" one of %d with %q", stat.Nlink, first[stat.Ino])
		}
		lines = append(lines, line+xattrs(path))
		return nil
	})
	must(tb, err)
	return lines
}

// spans tells whether a file has holes worth the name. Where exactly they are,
// file systems decide as they like, and not twice the same.
func spans(tb testing.TB, path string) string {
	tb.Helper()
	var stat unix.Stat_t
	must(tb, unix.Lstat(path, &stat))
	const slack = 1 << 20
	if stat.Blocks*512+slack < stat.Size {
		return "sparse"
	}
	return ""
}

func xattrs(path string) string {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return ""
	}
	text := ""
	for name := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		text += fmt.Sprintf(" %s=%x,%v", name, value[:max(n, 0)], err)
	}
	return text
}
