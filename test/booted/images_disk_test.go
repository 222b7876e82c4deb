package booted

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// imagePlaces is where images and what belongs to them can be.
var imagePlaces = []string{guests, "/etc/machines", "/run/machines", "/usr/local/lib/machines", "/usr/lib/machines",
	"/etc/systemd/nspawn", "/run/systemd/nspawn", "/usr/lib/systemd/nspawn", "/srv/change"}

// mountPool has a new, empty file system of this type in the place of the pool
// until the test's end.
func mountPool(t *testing.T, kind string) {
	t.Helper()
	mountAt(t, kind, guests)
	must(t, os.Chmod(guests, 0o700))
	os.Remove(filepath.Join(guests, "lost+found"))
}

// mountAt mounts a new, empty file system at an existing directory.
func mountAt(t *testing.T, kind, dir string) {
	t.Helper()
	disk, err := os.CreateTemp("/var/tmp", kind+"-*.disk")
	must(t, err)
	must(t, disk.Truncate(512<<20)) // sparse
	disk.Close()
	run(t, "mkfs."+kind, "-q", disk.Name())
	run(t, "mount", "-o", "loop", disk.Name(), dir)
	t.Cleanup(func() {
		run(t, "umount", dir)
		os.Remove(disk.Name())
	})
}

// topOfSubvolume is the inode number of a subvolume's top directory. Its change
// time says nothing of the subvolume's being read-only.
const topOfSubvolume = 256

// A disk remembers what files are like, until they change.
type disk map[string]struct {
	changed unix.Timespec
	what    string
}

// files describes all images and what belongs to them: a line for each file.
func (d disk) files(t *testing.T) []string {
	t.Helper()
	var lines []string
	links := map[fileID]string{} // the first name of each file
	for _, place := range imagePlaces {
		err := filepath.WalkDir(place, func(path string, _ fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case path == place, path == "/run/systemd/nspawn/locks", strings.HasPrefix(path, "/run/systemd/nspawn/unix-export"):
				return nil
			}
			line, err := d.describe(path, links)
			if err == nil {
				lines = append(lines, path+": "+line)
			}
			return err
		})
		must(t, err)
	}
	return append(lines, quotaOnDisk(t)...)
}

func (d disk) describe(path string, links map[fileID]string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return "", err
	}
	known, ok := d[path]
	if !ok || known.changed != stat.Ctim || stat.Ino == topOfSubvolume {
		var err error
		if known.what, err = describeFile(path, &stat); err != nil {
			return "", err
		}
		known.changed = stat.Ctim
		d[path] = known
	}
	id := fileID{stat.Dev, stat.Ino}
	if first, ok := links[id]; ok {
		return known.what + " is " + first, nil
	}
	links[id] = path
	return known.what, nil
}

type fileID struct{ device, inode uint64 }

func describeFile(path string, stat *unix.Stat_t) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	words := []string{info.Mode().String(), fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)}
	if info.ModTime().Equal(longAgo) {
		words = append(words, "old")
	}
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		words = append(words, fmt.Sprintf("%d bytes %08x", len(content), crc32.ChecksumIEEE(content)))
		if stat.Size > 1<<20 && stat.Blocks*512 < stat.Size/2 {
			words = append(words, "sparse")
		}
	case info.Mode()&fs.ModeSymlink != 0:
		target, _ := os.Readlink(path)
		words = append(words, "to "+target)
	case info.Mode()&fs.ModeDevice != 0:
		words = append(words, "device")
	case info.IsDir() && stat.Ino == topOfSubvolume:
		words = append(words, "subvolume")
	}
	return strings.Join(append(words, marksOf(path, info)...), " "), nil
}

// marksOf tells of a file's flags and extended attributes.
func marksOf(path string, info fs.FileInfo) (words []string) {
	var buffer [4096]byte
	if n, err := unix.Llistxattr(path, buffer[:]); err == nil {
		names := strings.Split(strings.TrimRight(string(buffer[:n]), "\x00"), "\x00")
		slices.Sort(names)
		for _, name := range names {
			if n, err := unix.Lgetxattr(path, name, buffer[2048:]); err == nil && name != "" {
				words = append(words, name+"="+hex.EncodeToString(buffer[2048:2048+n]))
			}
		}
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return words
	}
	file, err := os.Open(path)
	if err != nil {
		return words
	}
	defer file.Close()
	if flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&unix.STATX_ATTR_IMMUTABLE != 0 {
		words = append(words, "immutable")
	}
	if err := unix.Faccessat(int(file.Fd()), ".", unix.W_OK, 0); info.IsDir() && errors.Is(err, unix.EROFS) {
		words = append(words, "read-only")
	}
	return words
}

// quotaOnDisk tells of the quota groups of the pool's subvolumes: their limits,
// and which contains which. What they use, and when the kernel forgets those of
// subvolumes that are gone, is at its leisure.
func quotaOnDisk(t *testing.T) (lines []string) {
	t.Helper()
	o := observe(t, "btrfs", "qgroup", "show", "--raw", "-pcre", guests)
	if o.Code != 0 { // no btrfs, or no quota
		return nil
	}
	live := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^0/(\d+) .*`).FindAllStringSubmatch(o.Stdout, -1) {
		live[match[1]] = !strings.Contains(match[0], "<under deletion>") && !strings.Contains(match[0], "<stale>")
	}
	for line := range strings.Lines(o.Stdout) {
		words := strings.Fields(line)
		if len(words) < 7 {
			continue
		}
		groups := slices.DeleteFunc(strings.Split(words[0]+","+words[5]+","+words[6], ","), func(group string) bool {
			_, id, isGroup := strings.Cut(group, "/")
			return isGroup && !live[id]
		})
		if groups[0] == words[0] {
			lines = append(lines, fmt.Sprint("quota group ", groups, " limits ", words[3:5]))
		}
	}
	return lines
}
