package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
)

// SetReadOnly makes the image read-only, or writable. It is EBUSY while the
// image is in use, EROFS if it is hidden or the operating system's, and
// EOPNOTSUPP if nothing of its type can be so.
//
// Reference: discover-image.c, image_read_only.
func (s *Store) SetReadOnly(_ context.Context, i Image, readOnly bool) error {
	if i.Hidden() {
		return errReadOnly(i)
	}
	if i.Type == TypeMStack {
		return errType(i, "marked")
	}
	h, err := s.hold(i)
	if err != nil {
		return err
	}
	defer h.release()
	file, err := h.open(unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	return mark(file, i.Type, readOnly)
}

// mark marks an image that is open.
func mark(file *os.File, t Type, readOnly bool) error {
	switch t {
	case TypeSubvolume:
		return btrfs.SetReadOnly(file, readOnly)
	case TypeDirectory:
		// The mode of the top directory is the machine's own business.
		_, err := setImmutable(file, readOnly)
		return err
	case TypeRaw:
		info, err := file.Stat()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o200
		if readOnly {
			mode = info.Mode().Perm() &^ 0o222
		}
		return file.Chmod(mode)
	}
	flag := 0
	if readOnly {
		flag = 1
	}
	return unix.IoctlSetPointerInt(int(file.Fd()), unix.BLKROSET, flag)
}

// setImmutable sets or clears FS_IMMUTABLE_FL and returns what it was. File
// systems without such flags are EOPNOTSUPP.
func setImmutable(file *os.File, immutable bool) (was bool, err error) {
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		was = flags&unix.STATX_ATTR_IMMUTABLE != 0 // the same bit
		want := flags &^ unix.STATX_ATTR_IMMUTABLE
		if immutable {
			want |= unix.STATX_ATTR_IMMUTABLE
		}
		if want != flags {
			err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(want))
		}
	}
	if errors.Is(err, unix.ENOTTY) {
		err = unix.EOPNOTSUPP
	}
	if err != nil {
		return was, fmt.Errorf("cannot change the flags of %s: %w", file.Name(), err)
	}
	return was, nil
}

// loosen makes a directory that is immutable one that can be moved, and
// returns what makes it as it was.
func (h *held) loosen() (restore func() error, err error) {
	file, err := h.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	nothing := func() error { return nil }
	if info, err := file.Stat(); err != nil || !info.IsDir() {
		return nothing, err
	}
	was, err := setImmutable(file, false)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && !was {
		return nothing, nil
	}
	return func() error {
		file, err := h.open(unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = setImmutable(file, true)
		return err
	}, err
}
