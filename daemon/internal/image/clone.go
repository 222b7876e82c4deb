package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/filetree"
)

// Clone copies the image into the pool under a new name, with what belongs to
// it: as a snapshot where the file system has them, sharing content where it
// can. The copy has its name when it is whole. The image may be in use. It is
// EEXIST if the name is taken and EOPNOTSUPP for what cannot be copied.
//
// Reference: discover-image.c, image_clone.
func (s *Store) Clone(ctx context.Context, i Image, newName string, readOnly bool) (err error) {
	if i.Type == TypeBlock || i.Type == TypeMStack {
		return errType(i, "cloned")
	}
	name, err := s.claim(ctx, newName)
	if err != nil {
		return err
	}
	defer name.Release()
	pool, err := s.openPool()
	if err != nil {
		return err
	}
	defer pool.Close()

	var done undo
	defer done.unless(&err)
	draft := temporaryName(newName)
	if err := copyImage(ctx, i, pool, draft, readOnly); err != nil {
		return err
	}
	base := i.fileName(newName)
	remove := func(name string) func() error {
		return func() error { return filetree.Remove(context.WithoutCancel(ctx), pool, name) }
	}
	if err := rename(pool, draft, base); err != nil {
		return errors.Join(err, remove(draft)())
	}
	done.add(remove(base))
	if err := s.cloneFilesOf(i, pool, newName, &done); err != nil {
		return err
	}
	if readOnly && i.Type != TypeRaw {
		return markClone(pool, base) // nothing that is immutable could be renamed
	}
	return nil
}

// copyImage makes the copy under a name that nobody takes for an image. Nothing
// is left of one that fails.
func copyImage(ctx context.Context, i Image, pool *os.File, draft string, readOnly bool) error {
	if i.Type == TypeSubvolume {
		source, err := os.Open(i.Path)
		if err != nil {
			return err
		}
		defer source.Close()
		err = btrfs.Snapshot(ctx, source, pool, draft, readOnly)
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOTTY) {
			return err
		}
	}
	if i.Host() {
		return errType(i, "copied") // it would hold the pool, and so itself
	}
	parent, err := openDir(filepath.Dir(i.Path))
	if err != nil {
		return err
	}
	defer parent.Close()
	options := filetree.CopyOptions{XAttrs: filetree.AllXAttrs, SameMount: true}
	if onBtrfs, err := btrfs.Is(pool); err == nil && onBtrfs {
		options.MakeRoot = btrfs.Create
	}
	if i.Type == TypeRaw {
		options.XAttrs = filetree.UserXAttrs
	}
	if err := filetree.Copy(ctx, parent, filepath.Base(i.Path), pool, draft, options); err != nil {
		return err
	}
	if i.Type == TypeRaw {
		return chmodRaw(pool, draft, readOnly)
	}
	return nil
}

func chmodRaw(pool *os.File, name string, readOnly bool) error {
	mode := uint32(0o644)
	if readOnly {
		mode = 0o444
	}
	return unix.Fchmodat(int(pool.Fd()), name, mode, 0)
}

// markClone makes a copied tree read-only, by the means that the pool has.
func markClone(pool *os.File, name string) error {
	h := held{dir: pool, base: name}
	tree, err := h.open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer tree.Close()
	if ok, err := btrfs.IsSubvolume(tree); err == nil && ok {
		return mark(tree, TypeSubvolume, true)
	}
	return mark(tree, TypeDirectory, true)
}

// makePool makes the pool for root alone: images have programs with the
// set-user-ID bit that no user of the host may run.
func makePool(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	if onBtrfs, err := btrfs.Is(parent); err == nil && onBtrfs {
		if err := btrfs.Create(parent, filepath.Base(path)); err == nil {
			return os.Chmod(path, 0o700)
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
