package imagelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A lockFile is one locked file. It keeps the directory's descriptor, since
// the directory may be renamed while the lock is held.
type lockFile struct {
	dir       *os.File
	name      string
	fd        int
	exclusive bool
}

// openLocked opens or makes dir/name and locks it.
//
// Reference: lock-util.c, make_lock_file_at.
func openLocked(dir, name string, exclusive bool) (_ *lockFile, err error) {
	d, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	for {
		fd, err := openLockFile(d, name)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: dir + "/" + name, Err: err}
		}
		linked, err := lockLinked(fd, exclusive)
		if err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "lock", Path: dir + "/" + name, Err: err}
		}
		if linked {
			return &lockFile{dir: d, name: name, fd: fd, exclusive: exclusive}, nil
		}
		// The last holder removed the file between open and lock. The next
		// one would lock another file, so this lock is worth nothing.
		unix.Close(fd)
	}
}

func openLockFile(dir *os.File, name string) (fd int, err error) {
	const flags = unix.O_CREAT | unix.O_RDWR | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	err = ignoringEINTR(func() error {
		fd, err = unix.Openat(int(dir.Fd()), name, flags, 0o600)
		return err
	})
	return fd, err
}

// lockLinked locks the file and reports whether it still has a name.
func lockLinked(fd int, exclusive bool) (bool, error) {
	if err := setLock(fd, exclusive); err != nil {
		return false, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return false, err
	}
	return stat.Nlink > 0, nil
}

// setLock locks the whole file, or changes the lock there is. EBUSY: another
// holder excludes it.
func setLock(fd int, exclusive bool) error {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET}
	if exclusive {
		lock.Type = unix.F_WRLCK
	}
	err := ignoringEINTR(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return unix.EBUSY
	}
	return err
}

// release removes the file if nobody else has it locked, and closes it. Only
// an exclusive holder may remove: a shared one tries to become it.
//
// Reference: lock-util.c, release_lock_file.
func (f *lockFile) release() error {
	defer f.dir.Close()
	var unlinked error
	if f.exclusive || setLock(f.fd, true) == nil {
		unlinked = ignoringEINTR(func() error { return unix.Unlinkat(int(f.dir.Fd()), f.name, 0) })
		if errors.Is(unlinked, unix.ENOENT) {
			unlinked = nil
		}
	}
	return errors.Join(unlinked, unix.Close(f.fd))
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
