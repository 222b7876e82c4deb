package image

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// measureLimit is how long somebody waits who wants to know how large an image is.
const measureLimit = 5 * time.Minute

// Measure returns how many bytes of the disk an image takes, with what it shares
// with others.
func (s *Store) Measure(ctx context.Context, i Image) (bytes uint64, err error) {
	if i.Host() || i.Type == TypeBlock {
		return 0, errType(i, "measured")
	}
	return withinLimit(ctx, s, measureLimit, func(ctx context.Context) (uint64, error) { return DiskUsage(ctx, i.Path) })
}

// DiskUsage returns how many bytes of the disk a tree or file takes, with what it
// shares with others.
func DiskUsage(ctx context.Context, path string) (bytes uint64, err error) {
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return filetree.Usage(ctx, dir, filepath.Base(path))
}

// sharesContent reports whether files of an image share content with others, as
// some of the first ones tell.
func sharesContent(ctx context.Context, path string) bool {
	const enough = 16 // files
	seen, shares := 0, false
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return filepath.SkipAll
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return nil
		}
		if seen++; seen > enough || hasSharedExtent(path) {
			shares = seen <= enough
			return filepath.SkipAll
		}
		return nil
	})
	return shares
}

// Of linux/fiemap.h.
const (
	fsIOCFiemap        = 0xc020660b
	fiemapExtentShared = 0x2000
)

// hasSharedExtent looks at the first extent of a regular file.
func hasSharedExtent(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var request struct {
		start, length              uint64
		flags, mapped, count, left uint32
		extent                     struct {
			logical, physical, length uint64
			_                         [2]uint64
			flags                     uint32
			_                         [3]uint32
		}
	}
	request.length, request.count = ^uint64(0), 1
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIOCFiemap, uintptr(unsafe.Pointer(&request)))
	return errno == 0 && request.mapped > 0 && request.extent.flags&fiemapExtentShared != 0
}
