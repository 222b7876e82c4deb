package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Rename gives the image another name, in the same directory, and to what
// belongs to it: its settings, its snapshots, and what the service manager reads
// of its machine. Either everything is renamed or nothing. It is EBUSY while the
// image is in use, EEXIST if the name is taken, EROFS if the image is the
// operating system's and EOPNOTSUPP if it cannot be renamed.
//
// Reference: discover-image.c, image_rename.
func (s *Store) Rename(ctx context.Context, i Image, newName string) (err error) {
	var all []*renaming // the image first
	defer func() {
		for _, r := range all {
			r.release()
		}
	}()
	r, err := s.holdToRename(ctx, i, newName)
	if err != nil {
		return err
	}
	all = append(all, r)
	kept, err := s.snapshotsOf(ctx, i.Name)
	if err != nil {
		return err
	}
	for _, k := range kept {
		r, err := s.holdSnapshotToRename(ctx, k, newName)
		if err != nil {
			return err
		}
		all = append(all, r)
	}

	var done undo
	defer done.unless(&err)
	for _, r := range all {
		if err := s.renameFilesOf(r.held, r.image, r.newName, &done); err != nil {
			return err
		}
	}
	units, err := s.cfg.Units.Rename(ctx, i.Name, newName)
	if err != nil {
		return err
	}
	done.add(units)
	// The image itself comes last: as long as it has its old name, a process that
	// was killed over this is made good for by renaming it once more.
	for _, r := range slices.Backward(all) {
		if err := r.rename(&done); err != nil {
			return err
		}
	}
	return nil
}

// A renaming is of one image, which is held, to a name that is claimed.
type renaming struct {
	*held
	image   Image
	newName string
	name    *imagelock.Lock
}

func (s *Store) holdToRename(ctx context.Context, i Image, newName string) (*renaming, error) {
	if i.Type == TypeMStack {
		return nil, errType(i, "renamed")
	}
	h, err := s.hold(i)
	if err != nil {
		return nil, err
	}
	r := &renaming{held: h, image: i, newName: newName}
	switch {
	case i.Type == TypeBlock && isBelow(i.Path, "/dev"):
		err = errReadOnly(i)
	case h.base != i.fileName(i.Name):
		err = machine1.Errorf(unix.EOPNOTSUPP, "it is found by a link or as a version of several: rename %s itself", i.Path)
	default:
		r.name, err = s.claim(ctx, newName)
	}
	if err != nil {
		h.release()
		return nil, err
	}
	return r, nil
}

func (r *renaming) release() {
	_ = r.name.Release()
	r.held.release()
}

// rename renames the image alone.
func (r *renaming) rename(done *undo) error {
	restore, err := r.loosen()
	if err != nil {
		return err
	}
	done.add(restore)
	oldBase := r.base
	if err := r.held.rename(r.image.fileName(r.newName)); err != nil {
		return err
	}
	done.add(func() error {
		if _, err := r.loosen(); err != nil { // what has been restored
			return err
		}
		return r.held.rename(oldBase)
	})
	return restore()
}

// snapshotsOf returns the snapshots of an image as images.
func (s *Store) snapshotsOf(ctx context.Context, image string) ([]Image, error) {
	images, err := s.List(ctx)
	return slices.DeleteFunc(images, func(i Image) bool {
		of, _, ok := machd.CutSnapshot(i.Name)
		return !ok || of != image
	}), err
}

// holdSnapshotToRename holds a snapshot of an image that is to be called newName.
func (s *Store) holdSnapshotToRename(ctx context.Context, kept Image, newName string) (*renaming, error) {
	image, snapshot, _ := machd.CutSnapshot(kept.Name)
	name, err := snapshotImage(newName, snapshot)
	if err != nil {
		return nil, fmt.Errorf("snapshot %q of %q would be renamed too: %w", snapshot, image, err)
	}
	r, err := s.holdToRename(ctx, kept, name)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil, machine1.Errorf(unix.EEXIST,
			"there is a snapshot %q of another image %q: \"machctl snapshot remove %s %s\" removes it", snapshot, newName, newName, snapshot)
	case errors.Is(err, unix.EBUSY):
		return nil, machine1.Errorf(unix.EBUSY, "snapshot %q of %q is in use: wait for what is being done with it", snapshot, image)
	case err != nil:
		return nil, fmt.Errorf("snapshot %q of %q would be renamed too: %w", snapshot, image, err)
	}
	return r, nil
}
