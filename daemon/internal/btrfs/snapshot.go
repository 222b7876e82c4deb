package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Snapshot makes a snapshot of the subvolume source and of all those inside
// it, called name in dir, read-only or not. It takes the source's place in
// the arrangement of quota groups, and its limits. When it fails, nothing is
// left. ENOTTY: source is no subvolume; EXDEV: dir is on another file system.
//
// Reference: btrfs-util.c, btrfs_subvol_snapshot_at_full.
func Snapshot(ctx context.Context, source, dir *os.File, name string, readOnly bool) error {
	ok, err := IsSubvolume(source)
	if err == nil && !ok {
		err = unix.ENOTTY
	}
	if err != nil {
		return fmt.Errorf("cannot make a snapshot of %s: %w", source.Name(), err)
	}
	return withFD(source, func(from int) error {
		return withFD(dir, func(to int) error {
			err := (&copier{ctx: ctx, readOnly: readOnly}).snapshot(from, to, name, 0)
			if err != nil {
				return fmt.Errorf("cannot make a snapshot of %s: %w", source.Name(), err)
			}
			return nil
		})
	})
}

// A copier makes the snapshots of one call.
type copier struct {
	ctx      context.Context //nolint:containedctx // lives as long as the call
	readOnly bool
	top      uint64 // the outermost snapshot; it may have been put inside its source
}

func (c *copier) snapshot(from, dir int, name string, depth int) (err error) {
	if err := descend(c.ctx, depth); err != nil {
		return err
	}
	inside, err := children(from)
	if err != nil {
		return err
	}
	args := volumeArgsV2{FD: int64(from)}
	if c.readOnly && len(inside) == 0 {
		args.Flags = subvolumeReadOnly
	}
	if err := setName(args.Name[:256], name); err != nil {
		return err
	}
	if _, err := ioctl(dir, ioctlSnapCreate, &args); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(context.WithoutCancel(c.ctx), dir, name, 0))
		}
	}()
	to, err := openSubvolume(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	return c.complete(from, to, inside, depth)
}

// complete gives a bare snapshot its quota groups and the snapshots inside.
func (c *copier) complete(from, to int, inside []child, depth int) error {
	made, err := describe(to)
	if err != nil {
		return err
	}
	if depth == 0 {
		c.top = made.ID
	}
	// Accounting follows where it can; a snapshot without it is one.
	_ = copyArrangement(from, to)
	for _, in := range inside {
		if in.id == c.top {
			continue
		}
		if err := c.child(from, to, in, depth); err != nil {
			return err
		}
	}
	_ = copyLimits(from, to)
	if made.ReadOnly != c.readOnly {
		flags := uint64(subvolumeReadOnly)
		_, err = ioctl(to, ioctlSubvolumeSetFlags, &flags)
	}
	return err
}

// child puts a snapshot where a subvolume inside the source has left an empty
// directory in the copy.
func (c *copier) child(from, to int, in child, depth int) error {
	oldParent, err := in.openParent(from)
	if err != nil {
		return err
	}
	defer unix.Close(oldParent)
	old, err := openSubvolume(oldParent, in.name)
	if err != nil {
		return err
	}
	defer unix.Close(old)
	newParent, err := in.openParent(to)
	if err != nil {
		return err
	}
	defer unix.Close(newParent)
	if err := unix.Unlinkat(newParent, in.name, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return c.snapshot(old, newParent, in.name, depth+1)
}
