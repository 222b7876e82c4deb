package rootfs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Replace puts what edit makes of the regular file at path below root in its
// place, as a whole, with its owner and mode. Directories on the way may be links
// as in ReadFile; the file itself may not. One that is not there is nil to edit
// and made with mode, for the owner of its directory.
func Replace(root *os.File, file string, mode uint32, limit int64, edit func(old []byte) ([]byte, error)) error {
	dir, err := Lookup(root, path.Dir("/" + file)[1:]+"/.")
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(file)
	old, stat, err := readIn(dir, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Fstat(int(dir.Fd()), &stat)
		stat.Mode = mode
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	text, err := edit(old)
	if err != nil || bytes.Equal(text, old) {
		return err
	}
	if err := writeIn(dir, name, text, stat); err != nil {
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	return nil
}

func readIn(dir *os.File, name string, limit int64) (text []byte, stat unix.Stat_t, err error) {
	fd, err := Retry(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, stat, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, stat, err
	}
	size, err := check(f, limit)
	if err != nil {
		return nil, stat, err
	}
	opened, err := Reopen(f, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, stat, err
	}
	reader := os.NewFile(uintptr(opened), name)
	defer reader.Close()
	text, err = readAtMost(reader, size, limit)
	return text, stat, err
}

// writeIn makes the file under a name that nobody has, and renames it.
func writeIn(dir *os.File, name string, text []byte, like unix.Stat_t) error {
	draft := "." + name + "." + rand.Text()
	fd, err := unix.Openat(int(dir.Fd()), draft, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), draft)
	defer f.Close()
	_, err = f.Write(text)
	err = errors.Join(err, f.Chown(int(like.Uid), int(like.Gid)), f.Chmod(fs.FileMode(like.Mode&0o777)), f.Sync())
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), draft, int(dir.Fd()), name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(int(dir.Fd()), draft, 0))
	}
	return nil
}
