package image

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// subvolumeInode is the inode number of every subvolume's top directory.
	subvolumeInode = 256
	// BTRFS_IOC_GET_SUBVOL_INFO, since Linux 4.18; needs no privilege.
	ioctlSubvolumeInfo = 0x81f8943c
	// BTRFS_ROOT_SUBVOL_RDONLY in subvolumeInfo.flags.
	subvolumeReadOnly = 1 << 0
)

// subvolumeInfo is struct btrfs_ioctl_get_subvol_info_args.
type subvolumeInfo struct {
	treeID         uint64
	name           [256]byte
	parentID       uint64
	dirID          uint64
	generation     uint64
	flags          uint64
	uuid           [16]byte
	parentUUID     [16]byte
	receivedUUID   [16]byte
	ctransid       uint64
	otransid       uint64
	stransid       uint64
	rtransid       uint64
	changed, birth btrfsTime // ctime, otime
	sent, received btrfsTime
	reserved       [8]uint64
}

// btrfsTime is struct btrfs_ioctl_timespec.
type btrfsTime struct {
	sec  uint64
	nsec uint32
	_    uint32
}

func (t btrfsTime) micros() uint64 { return t.sec*1_000_000 + uint64(t.nsec)/1_000 }

// isSubvolume asks for the file system only if the inode number fits, since
// statfs can hang where statx does not.
func (n node) isSubvolume(file *os.File) (bool, error) {
	if n.stat.Ino != subvolumeInode {
		return false, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return false, err
	}
	return fs.Type == unix.BTRFS_SUPER_MAGIC, nil
}

// describeSubvolume reads times and the read-only flag of the subvolume that
// file, opened with O_PATH, is the top of. Sizes stay unknown: they would need
// quota.
func describeSubvolume(file *os.File, image *Image) error {
	fd, err := unix.Openat(int(file.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open subvolume %s: %w", image.Path, err)
	}
	defer unix.Close(fd)
	var info subvolumeInfo
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlSubvolumeInfo, uintptr(unsafe.Pointer(&info)))
	if errors.Is(errno, unix.ENOTTY) {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("cannot ask for the subvolume at %s: %w", image.Path, errno)
	}
	image.Created = info.birth.micros()
	image.Modified = info.changed.micros()
	image.ReadOnly = image.ReadOnly || info.flags&subvolumeReadOnly != 0
	return nil
}
