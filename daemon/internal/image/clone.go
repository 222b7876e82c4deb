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
	"github.com/machd/machd/pkg/machine1"
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

	d, err := newDraft(pool, newName)
	if err != nil {
		return err
	}
	defer s.sweepAfter(s.cfg.Pool)
	defer d.release()
	var done undo
	defer done.unless(&err)
	if err := copyImage(ctx, i, pool, d.name, readOnly); err != nil {
		return err
	}
	remove := func(name string) func() error {
		return func() error { return filetree.Remove(context.WithoutCancel(ctx), pool, name) }
	}
	var beside copies
	defer beside.release()
	err = s.cloneFilesOf(i, pool, newName, &beside)
	if err == nil {
		// Never is there the clone without its settings.
		err = beside.become(&done)
	}
	if err != nil {
		return errors.Join(err, remove(d.name)())
	}
	base := i.fileName(newName)
	if err := d.become(base); err != nil {
		return errors.Join(err, remove(d.name)())
	}
	done.add(remove(base))
	if i.Type == TypeRaw {
		return nil
	}
	return finishClone(pool, base, readOnly)
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
		// It would hold the pool, and so itself.
		return machine1.Errorf(unix.EOPNOTSUPP, "image %q cannot be copied: it is this host, with all images in it", i.Name)
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

// finishClone does to a copied tree what needs its name: a quota group counts
// what it takes, where there are such, and it becomes read-only by the means that
// the pool has. Nothing that is immutable could have been renamed.
func finishClone(pool *os.File, name string, readOnly bool) error {
	h := held{dir: pool, base: name}
	tree, err := h.open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer tree.Close()
	kind := TypeDirectory
	if ok, err := btrfs.IsSubvolume(tree); err == nil && ok {
		kind = TypeSubvolume
		_ = btrfs.Arrange(tree) // without quota there is no group
	}
	if !readOnly {
		return nil
	}
	return mark(tree, kind, true)
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
