// Package btrfs does to subvolumes what images need: make, snapshot, delete,
// mark read-only, describe, and account for them with quota groups arranged
// as systemd arranges them. It talks to the kernel directly and knows
// subvolumes only, no images.
//
// Directories are passed as open files, O_PATH ones too. A call on another
// file system fails with ENOTTY, or EINVAL where the kernel says so.
package btrfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// topInode is the inode number of every subvolume's top directory.
const topInode = 256

// IsSubvolume reports whether dir is the top of a subvolume.
func IsSubvolume(dir *os.File) (bool, error) {
	ok, err := isSubvolume(int(dir.Fd()))
	if err != nil {
		return false, fmt.Errorf("cannot tell whether %s is a subvolume: %w", dir.Name(), err)
	}
	return ok, nil
}

// Is reports whether file is on btrfs.
func Is(file *os.File) (bool, error) {
	ok, err := isBtrfs(int(file.Fd()))
	if err != nil {
		return false, fmt.Errorf("cannot tell the file system of %s: %w", file.Name(), err)
	}
	return ok, nil
}

// Create makes an empty subvolume called name in dir, with mode 0777 less the
// umask. ENOTTY: dir is not on btrfs.
func Create(dir *os.File, name string) error {
	args, err := newVolumeArgs(name)
	if err != nil {
		return err
	}
	return withFD(dir, func(fd int) error {
		if _, err := ioctl(fd, ioctlSubvolumeCreate, args); err != nil {
			return fmt.Errorf("cannot make subvolume %s/%s: %w", dir.Name(), name, err)
		}
		return nil
	})
}

// Info describes a subvolume. Times are microseconds since the epoch.
type Info struct {
	ID       uint64 // of the subvolume, and of its quota group of level 0
	Parent   uint64 // the subvolume it is in, 0 for none
	ReadOnly bool

	Created, Changed uint64
}

// Describe returns what the kernel tells of the subvolume dir is in. Needs no
// privilege.
func Describe(dir *os.File) (Info, error) {
	var info Info
	err := withFD(dir, func(fd int) (err error) {
		info, err = describe(fd)
		return err
	})
	if err != nil {
		return Info{}, fmt.Errorf("cannot ask for the subvolume at %s: %w", dir.Name(), err)
	}
	return info, nil
}

// ReadOnly reports whether the subvolume is marked read-only.
func ReadOnly(dir *os.File) (readOnly bool, err error) {
	err = withFD(dir, func(fd int) error {
		var flags uint64
		_, err := ioctl(fd, ioctlSubvolumeGetFlags, &flags)
		readOnly = flags&subvolumeReadOnly != 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("cannot read the flags of subvolume %s: %w", dir.Name(), err)
	}
	return readOnly, nil
}

// SetReadOnly marks the subvolume read-only or writable. EINVAL: dir is not
// the top of a subvolume.
//
// Reference: btrfs-util.c, btrfs_subvol_set_read_only_at.
func SetReadOnly(dir *os.File, readOnly bool) error {
	err := withFD(dir, func(fd int) error {
		var flags uint64
		if _, err := ioctl(fd, ioctlSubvolumeGetFlags, &flags); err != nil {
			return err
		}
		wanted := flags &^ subvolumeReadOnly
		if readOnly {
			wanted |= subvolumeReadOnly
		}
		if wanted == flags {
			return nil
		}
		_, err := ioctl(fd, ioctlSubvolumeSetFlags, &wanted)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot change the flags of subvolume %s: %w", dir.Name(), err)
	}
	return nil
}

func describe(fd int) (Info, error) {
	var raw subvolumeInfo
	if _, err := ioctl(fd, ioctlSubvolumeInfo, &raw); err != nil {
		return Info{}, err
	}
	return Info{
		ID: raw.TreeID, Parent: raw.ParentID,
		ReadOnly: raw.Flags&rootReadOnly != 0,
		Created:  raw.Birth.micros(), Changed: raw.Changed.micros(),
	}, nil
}

// withFD calls fn with a descriptor of dir that takes ioctls, which one made
// with O_PATH does not.
func withFD(dir *os.File, fn func(fd int) error) error {
	fd, err := openDir(int(dir.Fd()), ".")
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", dir.Name(), err)
	}
	defer unix.Close(fd)
	return fn(fd)
}

// openDir opens a directory below dir. A link as the last part of path is not
// followed.
func openDir(dir int, path string) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openSubvolume opens the subvolume called name in dir. ENOTTY: it is none.
func openSubvolume(dir int, name string) (int, error) {
	fd, err := openDir(dir, name)
	if err != nil {
		return -1, err
	}
	ok, err := isSubvolume(fd)
	if err == nil && !ok {
		err = unix.ENOTTY
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// isSubvolume asks for the file system only if the inode number fits, since
// statfs can hang where stat does not.
func isSubvolume(fd int) (bool, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return false, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR || stat.Ino != topInode {
		return false, nil
	}
	return isBtrfs(fd)
}

func isBtrfs(fd int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return false, err
	}
	return fs.Type == unix.BTRFS_SUPER_MAGIC, nil
}
