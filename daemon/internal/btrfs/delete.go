package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Delete deletes the subvolume called name in dir, those inside it first, with
// their quota groups. ENOTTY: name is no subvolume. When ctx ends, what is
// deleted by then stays deleted.
//
// Reference: btrfs-util.c, btrfs_subvol_remove_at.
func Delete(ctx context.Context, dir *os.File, name string) error {
	return withFD(dir, func(fd int) error {
		if err := remove(ctx, fd, name, 0); err != nil {
			return fmt.Errorf("cannot delete subvolume %s/%s: %w", dir.Name(), name, err)
		}
		return nil
	})
}

// maxDepth bounds the subvolumes inside each other that one call walks: whoever
// owns an image may nest them, and each level keeps two descriptors open.
const maxDepth = 256

func descend(ctx context.Context, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d subvolumes inside each other: %w", maxDepth, unix.ELOOP)
	}
	return ctx.Err()
}

func remove(ctx context.Context, dir int, name string, depth int) error {
	if err := descend(ctx, depth); err != nil {
		return err
	}
	fd, err := openSubvolume(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info, err := describe(fd)
	if err != nil {
		return err
	}
	err = destroy(dir, name)
	if errors.Is(err, unix.ENOTEMPTY) {
		if err := removeChildren(ctx, fd, info, depth); err != nil {
			return err
		}
		err = destroy(dir, name)
	}
	if err != nil {
		return err
	}
	// Without quota there is no group, and one that stays is an empty number.
	_ = qgroups{dir}.removeWithParents(info.ID)
	return nil
}

func destroy(dir int, name string) error {
	args, err := newVolumeArgs(name)
	if err != nil {
		return err
	}
	_, err = ioctl(dir, ioctlSnapDestroy, args)
	return err
}

// removeChildren empties a subvolume of subvolumes. A read-only one lets
// nothing go, so it is made writable; it is about to be deleted itself.
func removeChildren(ctx context.Context, fd int, info Info, depth int) error {
	if info.ReadOnly {
		var writable uint64
		if _, err := ioctl(fd, ioctlSubvolumeSetFlags, &writable); err != nil {
			return err
		}
	}
	inside, err := children(fd)
	if err != nil {
		return err
	}
	for _, c := range inside {
		parent, err := c.openParent(fd)
		if err != nil {
			return err
		}
		err = remove(ctx, parent, c.name, depth+1)
		unix.Close(parent)
		if err != nil {
			return err
		}
	}
	return nil
}
