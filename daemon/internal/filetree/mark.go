package filetree

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
)

// Marks of a file that keep it from being removed. Reference: ioctl_iflags(2).
const (
	markImmutable = 0x10
	markAppend    = 0x20
)

// unmark takes such marks from name and from dir, where it is. It reports
// whether there were any.
func (r *remover) unmark(dir int, name string) bool {
	found := false
	if self, err := openAt(dir, ".", openDir); err == nil { // dir may be O_PATH
		found = unmarkOpen(self)
		unix.Close(self)
	}
	var stat unix.Stat_t
	node, err := openAndStat(dir, name, openNode, &stat)
	if err != nil {
		return found
	}
	defer unix.Close(node)
	if kind := typeOf(&stat); kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return found // to open it could do something
	}
	file, err := r.fds.open(node, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return found
	}
	defer unix.Close(file)
	return unmarkOpen(file) || found
}

func unmarkOpen(fd int) bool {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || flags&(markImmutable|markAppend) == 0 {
		return false
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^(markImmutable|markAppend))) == nil
}

// isSubvolume reports whether an open directory is the top of a btrfs
// subvolume.
func isSubvolume(fd int, stat *unix.Stat_t) bool {
	const topInode = 256
	var fs unix.Statfs_t
	return stat.Ino == topInode && unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
}

// removeSubvolume removes the subvolume name, and those inside it.
func (r *remover) removeSubvolume(ctx context.Context, name string) error {
	fd, err := openAt(r.at.fd, ".", openDir)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), r.at.path("."))
	defer dir.Close()
	if err := btrfs.Delete(ctx, dir, name); err != nil {
		if errors.Is(err, unix.EPERM) && unmarkOpen(fd) {
			return btrfs.Delete(ctx, dir, name)
		}
		return err
	}
	return nil
}
