package image

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// Rename gives the image another name, in the same directory, and to what
// belongs to it. Either everything is renamed or nothing. It is EBUSY while the
// image is in use, EEXIST if the name is taken, EROFS if the image is the
// operating system's and EOPNOTSUPP if it cannot be renamed.
//
// Reference: discover-image.c, image_rename.
func (s *Store) Rename(ctx context.Context, i Image, newName string) (err error) {
	if i.Type == TypeMStack {
		return errType(i, "renamed")
	}
	h, err := s.hold(i)
	if err != nil {
		return err
	}
	defer h.release()
	if i.Type == TypeBlock && isBelow(i.Path, "/dev") {
		return errReadOnly(i)
	}
	if h.base != i.fileName(i.Name) {
		return machine1.Errorf(unix.EOPNOTSUPP, "it is found by a link or as a version of several: rename %s itself", i.Path)
	}
	name, err := s.claim(ctx, newName)
	if err != nil {
		return err
	}
	defer name.Release()

	var done undo
	defer done.unless(&err)
	restore, err := h.loosen()
	if err != nil {
		return err
	}
	done.add(restore)
	oldBase, newBase := h.base, i.fileName(newName)
	if err := h.rename(newBase); err != nil {
		return err
	}
	done.add(func() error { return h.rename(oldBase) })
	if err := s.renameFilesOf(h, i, newName, &done); err != nil {
		return err
	}
	return restore()
}
