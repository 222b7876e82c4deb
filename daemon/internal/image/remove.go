package image

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// Remove removes the image and what belongs to it; keep says what becomes of
// its settings. It is EBUSY while the image is in use and EROFS if it is the
// operating system's. A tree has lost its name before any of it goes, so that
// no half of it is ever started; it gets its name back if it cannot be removed.
//
// Reference: discover-image.c, image_remove.
func (s *Store) Remove(ctx context.Context, i Image, keep Settings) error {
	h, err := s.hold(i)
	if err == nil {
		err = h.remove(ctx, i)
		if err == nil {
			s.removeFilesOf(h, i, keep)
		}
		h.release()
	}
	return err
}

func (h *held) remove(ctx context.Context, i Image) error {
	switch i.Type {
	case TypeBlock:
		if strings.HasPrefix(i.Path, "/dev/") {
			return nil // the device stays; what belongs to it goes
		}
		return h.unlink(i)
	case TypeRaw:
		return h.unlink(i)
	}
	restore, err := h.loosen()
	if err != nil {
		return err
	}
	base := h.base
	err = h.rename(temporaryName(base))
	if err == nil {
		if err = filetree.Remove(ctx, h.dir, h.base); err == nil {
			return nil
		}
		err = errors.Join(err, h.rename(base))
	}
	return errors.Join(err, restore())
}

func (h *held) unlink(i Image) error {
	if err := unix.Unlinkat(int(h.dir.Fd()), h.base, 0); err != nil {
		return &os.PathError{Op: "remove", Path: i.Path, Err: err}
	}
	return nil
}

// token is a few characters that nobody has used before.
func token() string { return strings.ToLower(rand.Text()[:16]) }
