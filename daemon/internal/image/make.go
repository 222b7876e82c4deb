package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/imagelock"
)

// What a Workshop has that becomes the image: one of the two.
const (
	madeTree = "root"
	madeDisk = "root" + rawSuffix
)

// A Workshop is where an image is made: a directory that nobody takes for one,
// in the pool, so that the image can be moved out of it.
type Workshop struct {
	Dir *os.File
}

// Name is what programs that make images are told to call theirs.
func (Workshop) Name() string { return madeTree }

// TreePath is where the image is made if it is a tree.
func (w Workshop) TreePath() string { return filepath.Join(w.Dir.Name(), madeTree) }

// DiskPath is where the image is made if it is a disk.
func (w Workshop) DiskPath() string { return filepath.Join(w.Dir.Name(), madeDisk) }

// MakeTree makes the directory for it, as a subvolume where it can be one.
func (w Workshop) MakeTree() error {
	if onBtrfs, err := btrfs.Is(w.Dir); err == nil && onBtrfs {
		return btrfs.Create(w.Dir, madeTree)
	}
	return os.Mkdir(w.TreePath(), 0o755)
}

// CopyTree makes the image a copy of a tree, which is called name in from.
func (w Workshop) CopyTree(ctx context.Context, from *os.File, name string) error {
	options := filetree.CopyOptions{XAttrs: filetree.AllXAttrs, SameMount: true}
	if onBtrfs, err := btrfs.Is(w.Dir); err == nil && onBtrfs {
		options.MakeRoot = btrfs.Create
	}
	return filetree.Copy(ctx, from, name, w.Dir, madeTree, options)
}

// CopyImage makes it a copy of another image.
func (w Workshop) CopyImage(ctx context.Context, i Image) error {
	name := madeTree
	switch i.Type {
	case TypeRaw:
		name = madeDisk
	case TypeBlock, TypeMStack:
		return errType(i, "copied")
	}
	return copyImage(ctx, i, w.Dir, name, false)
}

// Tree opens the image that was made, if it is a tree; otherwise it is nil.
func (w Workshop) Tree() (*os.File, error) {
	tree, err := openAt(w.Dir, madeTree, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if nothing(err) {
		return nil, nil
	}
	return tree, err
}

// Change changes files of the image that was made, which has one of both forms.
func (w Workshop) Change(ctx context.Context, change func(root *os.File) error) error {
	root, err := w.Tree()
	if err != nil {
		return err
	}
	if root == nil {
		return inDisk(ctx, w.DiskPath(), change)
	}
	defer root.Close()
	return change(root)
}

// A fill makes an image in the workshop.
type fill func(context.Context, Workshop) error

// A bring copies what belongs to an image to be into the pool.
type bring func(ctx context.Context, pool *os.File, made *copies) error

// Make adds an image to the pool. fill makes it in the workshop, and has all the
// time that it needs; then it gets its name, at once and as a whole, with the
// settings of like if that is not nil. Of one that fails nothing is left. It is
// EEXIST if the name is taken, and EBUSY if somebody else is about to take it.
func (s *Store) Make(ctx context.Context, name string, readOnly bool, like *Image, fill fill) error {
	return s.make(ctx, name, readOnly, fill, func(_ context.Context, pool *os.File, made *copies) error {
		if like == nil {
			return nil
		}
		return s.cloneFilesOf(*like, pool, name, made)
	})
}

func (s *Store) make(ctx context.Context, name string, readOnly bool, fill fill, bring bring) (err error) {
	claimed, err := s.claim(ctx, name)
	if err != nil {
		return err
	}
	defer claimed.Release()
	pool, err := s.openPool()
	if err != nil {
		return err
	}
	defer pool.Close()
	d, err := newDraft(pool, name)
	if err != nil {
		return err
	}
	defer s.sweepAfter(s.cfg.Pool)
	defer d.release()
	if err := os.Mkdir(filepath.Join(pool.Name(), d.name), 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove(context.WithoutCancel(ctx))) }()
	dir, err := openAt(pool, d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := fill(ctx, Workshop{dir}); err != nil {
		return err
	}
	var beside copies
	defer beside.release()
	if err := bring(ctx, pool, &beside); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return moveOut(ctx, dir, pool, name, readOnly, &beside)
}

// moveOut gives what was made in dir its name in the pool, and what belongs to it
// its own.
func moveOut(ctx context.Context, dir, pool *os.File, name string, readOnly bool, beside *copies) (err error) {
	made, base := madeTree, name
	var stat unix.Stat_t
	err = unix.Fstatat(int(dir.Fd()), madeTree, &stat, unix.AT_SYMLINK_NOFOLLOW)
	disk := errors.Is(err, unix.ENOENT)
	if disk {
		made, base = madeDisk, name+rawSuffix
		if err := chmodRaw(dir, made, readOnly); err != nil {
			return fmt.Errorf("nothing was made: %w", err)
		}
	}
	// After a crash of the host it must not have a name, and no content.
	if err := unix.Syncfs(int(pool.Fd())); err != nil {
		return fmt.Errorf("cannot write the image to disk: %w", err)
	}
	var done undo
	defer done.unless(&err)
	if err := beside.become(&done); err != nil {
		return err
	}
	if err := unix.Renameat2(int(dir.Fd()), made, int(pool.Fd()), base, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", filepath.Join(dir.Name(), made), filepath.Join(pool.Name(), base), err)
	}
	done.add(func() error { return filetree.Remove(context.WithoutCancel(ctx), pool, base) })
	if disk {
		return nil
	}
	return finishClone(pool, base, readOnly)
}

// SweepSoon has Run remove what killed processes have left unfinished in the pool,
// and removes the lock on the name that an image was to get from them.
func (s *Store) SweepSoon(name string) {
	_ = s.unclaim(name)
	s.sweepAfter(s.cfg.Pool)
}

// Sweep removes what killed processes have left unfinished in the pool, and the
// locks on the names that images were to get from them.
func (s *Store) Sweep(ctx context.Context, names ...string) error {
	err := sweep(ctx, s.cfg.Pool)
	for _, name := range names {
		err = errors.Join(err, s.unclaim(name))
	}
	return err
}

// unclaim removes the lock on a name that nobody holds.
func (s *Store) unclaim(name string) error {
	lock, err := imagelock.Name(s.cfg.LockDir, name)
	if err != nil { // somebody does
		return nil
	}
	return lock.Release()
}
