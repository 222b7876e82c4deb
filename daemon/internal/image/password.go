package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/dissect"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// SetPassword sets the password of a user in an image that is not in use, as
// account.SetPassword does. It is EBUSY while the image is in use, EROFS if it is
// read-only, and EOPNOTSUPP if its files cannot be changed, or must not.
func (s *Store) SetPassword(ctx context.Context, i Image, user string, password account.Password) error {
	if i.Type == TypeMStack {
		return machine1.Errorf(unix.EOPNOTSUPP, "image %q is a stack of layers, which others may share: set the password in a machine that runs from it", i.Name)
	}
	if i.Vendor() || i.Host() || i.Hidden() {
		return errReadOnly(i)
	}
	if i.ReadOnly {
		return machine1.Errorf(unix.EROFS, "image %q is read-only", i.Name)
	}
	h, err := s.hold(i)
	if err != nil {
		return err
	}
	defer h.release()
	change := func(root *os.File) error { return account.SetPassword(root, user, password) }
	if i.Type == TypeRaw || i.Type == TypeBlock {
		return h.changeDisk(ctx, i, change)
	}
	root, err := rootfs.Open(i.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	return change(root)
}

// changeDisk changes files of a disk image that is held.
func (h *held) changeDisk(ctx context.Context, i Image, change func(root *os.File) error) error {
	file, err := h.open(unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unused(ctx, i, file); err != nil {
		return err
	}
	if err := inDisk(ctx, i.Path, change); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("cannot write the image to disk: %w", err)
	}
	return nil
}

// inDisk changes files of a disk image that nobody else uses.
func inDisk(ctx context.Context, path string, change func(root *os.File) error) error {
	disk, err := dissect.Open(ctx, path)
	if err != nil {
		return err
	}
	err = errors.Join(change(disk.Root), disk.Close())
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("the file system in the image is full: %w", err)
	}
	return err
}
