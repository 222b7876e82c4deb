package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
)

// A node is what statx says of an opened entry.
type node struct{ stat unix.Statx_t }

// inspect looks at file, which may be opened with O_PATH. A remote file system
// is not asked again, so that one that hangs costs no more than the opening.
func inspect(file *os.File) (node, error) {
	var n node
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	var err error = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err = unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, mask, &n.stat)
	}
	if err != nil {
		return node{}, &os.PathError{Op: "statx", Path: file.Name(), Err: err}
	}
	return n, nil
}

func (n node) isDir() bool     { return n.stat.Mode&unix.S_IFMT == unix.S_IFDIR }
func (n node) isRegular() bool { return n.stat.Mode&unix.S_IFMT == unix.S_IFREG }
func (n node) isBlock() bool   { return n.stat.Mode&unix.S_IFMT == unix.S_IFBLK }
func (n node) isLink() bool    { return n.stat.Mode&unix.S_IFMT == unix.S_IFLNK }

// image describes file, which n was taken of and whose name is its path without
// links, as the image called name.
//
// Reference: discover-image.c, image_make.
func (n node) image(ctx context.Context, file *os.File, name string) (Image, error) {
	path := file.Name()
	image := Image{
		Name: name, Path: path,
		ReadOnly: isHidden(name) || underUsr(path) || onReadOnlyFS(file),
		Usage:    Unknown, Limit: Unknown, UsageExclusive: Unknown, LimitExclusive: Unknown,
	}
	switch {
	case n.isDir():
		return image, n.describeDirectory(ctx, file, &image)
	case n.isRegular():
		n.describeRaw(&image)
	case n.isBlock():
		n.describeBlock(&image)
	}
	return image, nil
}

func (n node) describeDirectory(ctx context.Context, file *os.File, image *Image) error {
	if strings.HasSuffix(image.Path, mstackSuffix) {
		return n.describeStack(ctx, file, image)
	}
	subvolume, err := n.isSubvolume(file)
	if err != nil {
		return fmt.Errorf("cannot tell the file system of %s: %w", image.Path, err)
	}
	if subvolume {
		return describeSubvolume(file, image)
	}
	image.Type = TypeDirectory
	image.Created = n.created()
	if n.stat.Attributes&unix.STATX_ATTR_IMMUTABLE != 0 {
		image.ReadOnly = true
	}
	return nil
}

// isSubvolume asks for the file system only if the inode number fits, since
// statfs can hang where statx does not.
func (n node) isSubvolume(file *os.File) (bool, error) {
	const top = 256 // inode number of every subvolume's top directory
	if n.stat.Ino != top {
		return false, nil
	}
	return btrfs.Is(file)
}

func describeSubvolume(file *os.File, image *Image) error {
	image.Type = TypeSubvolume
	info, err := btrfs.Describe(file)
	if errors.Is(err, unix.ENOTTY) { // before Linux 4.18
		return nil
	}
	if err != nil {
		return err
	}
	image.Created, image.Modified = info.Created, info.Changed
	image.ReadOnly = image.ReadOnly || info.ReadOnly
	if !image.Vendor() && !image.Host() {
		describeQuota(file, image)
	}
	return nil
}

// describeQuota leaves the sizes unknown where quota is off, and while the
// kernel is still counting.
func describeQuota(file *os.File, image *Image) {
	if counting, err := btrfs.Counting(file); err != nil || counting {
		return
	}
	quota, err := btrfs.Subtree(file)
	if err != nil {
		return
	}
	image.Usage, image.UsageExclusive = quota.Referenced, quota.Exclusive
	image.Limit, image.LimitExclusive = quota.ReferencedLimit, quota.ExclusiveLimit
}

func (n node) describeStack(ctx context.Context, file *os.File, image *Image) error {
	image.Type = TypeMStack
	image.Created = n.created()
	readOnly, err := stackReadOnly(ctx, file)
	image.ReadOnly = image.ReadOnly || readOnly
	if exhausted(err) || ctx.Err() != nil {
		return err
	}
	return nil // what cannot be read is read-only
}

func (n node) describeRaw(image *Image) {
	const sector = 512 // unit of stx_blocks, in bytes
	image.Type = TypeRaw
	image.Created = n.created()
	image.Modified = micros(n.stat.Mtime)
	image.ReadOnly = image.ReadOnly || n.unwritable()
	image.Usage, image.UsageExclusive = n.stat.Blocks*sector, n.stat.Blocks*sector
	image.Limit, image.LimitExclusive = n.stat.Size, n.stat.Size
}

// describeBlock asks sysfs and never opens the device, which could hang or
// start something.
func (n node) describeBlock(image *Image) {
	const sector = 512 // unit of sysfs's size, in bytes
	dir := fmt.Sprintf("/sys/dev/block/%d:%d/", n.stat.Rdev_major, n.stat.Rdev_minor)
	image.Type = TypeBlock
	if sectors, ok := readNumber(dir + "size"); ok && sectors != 0 {
		size := sectors * sector
		image.Usage, image.UsageExclusive, image.Limit, image.LimitExclusive = size, size, size, size
	}
	readOnly, _ := readNumber(dir + "ro")
	image.ReadOnly = image.ReadOnly || n.unwritable() || readOnly != 0
}

func (n node) unwritable() bool { return n.stat.Mode&0o222 == 0 }

func (n node) created() uint64 {
	if n.stat.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return micros(n.stat.Btime)
}

func micros(t unix.StatxTimestamp) uint64 {
	if t.Sec < 0 {
		return 0
	}
	return uint64(t.Sec)*1_000_000 + uint64(t.Nsec)/1_000
}

func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

func underUsr(path string) bool { return path == "/usr" || strings.HasPrefix(path, "/usr/") }

func onReadOnlyFS(file *os.File) bool {
	err := unix.Faccessat(int(file.Fd()), "", unix.W_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
	return errors.Is(err, unix.EROFS)
}

func readNumber(path string) (uint64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
