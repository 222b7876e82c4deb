package image

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// SetPassword sets the password of a user in an image that is not in use, as
// account.SetPassword does. It is EBUSY while the image is in use, EROFS if it is
// read-only, and EOPNOTSUPP if it is no tree of files.
func (s *Store) SetPassword(_ context.Context, i Image, user, hash string) error {
	if i.Type != TypeDirectory && i.Type != TypeSubvolume {
		return errType(i, "given a password")
	}
	if i.ReadOnly || i.Hidden() {
		return machine1.Errorf(unix.EROFS, "image %q is read-only", i.Name)
	}
	h, err := s.hold(i)
	if err != nil {
		return err
	}
	defer h.release()
	root, err := rootfs.Open(i.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	return account.SetPassword(root, user, hash)
}
