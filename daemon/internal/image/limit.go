package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/pkg/machine1"
)

// SetLimit limits how many bytes the image may take, with what is inside it;
// Unknown is no limit. Only subvolumes can be limited, others are EOPNOTSUPP.
// It is EROFS if the image is the operating system's.
//
// Reference: discover-image.c, image_set_limit.
func (s *Store) SetLimit(_ context.Context, i Image, limit uint64) error {
	if err := checkLimit(limit); err != nil {
		return err
	}
	if i.Vendor() || i.Host() {
		return errReadOnly(i)
	}
	if i.Type != TypeSubvolume {
		return machine1.Errorf(unix.EOPNOTSUPP, "image %q cannot be limited: it is of type %s, and only a subvolume of btrfs can be", i.Name, i.Type)
	}
	dir, err := os.Open(i.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return limitSubvolume(dir, limit)
}

// limitSubvolume sets the limit twice, for the subvolume itself and for the
// group of all that is inside it, where there is one.
func limitSubvolume(dir *os.File, limit uint64) error {
	_ = btrfs.EnableQuota(dir)
	_ = btrfs.Limit(dir, limit)
	_ = btrfs.Arrange(dir)
	return btrfs.LimitSubtree(dir, limit)
}

func checkLimit(limit uint64) error {
	if limit != Unknown && limit >= 1<<63 {
		return machine1.Errorf(machine1.ErrInvalidArgs, "New limit out of range")
	}
	return nil
}

// A Pool is the directory new images are made in. Sizes are bytes, Unknown
// where there is no quota.
type Pool struct {
	Path         string
	Usage, Limit uint64
}

// Pool describes the pool.
//
// Reference: machined-dbus.c, property_get_pool_usage and _limit.
func (s *Store) Pool(ctx context.Context) (Pool, error) {
	return within(ctx, s, func(context.Context) (Pool, error) {
		pool := Pool{Path: s.cfg.Pool, Usage: Unknown, Limit: Unknown}
		dir, err := os.Open(s.cfg.Pool)
		if errors.Is(err, fs.ErrNotExist) {
			return pool, nil
		}
		if err != nil {
			return pool, fmt.Errorf("cannot look at the image pool: %w", err)
		}
		defer dir.Close()
		if ok, err := btrfs.IsSubvolume(dir); !ok || err != nil {
			return pool, nil
		}
		// Without quota nobody can tell.
		if quota, err := btrfs.Subtree(dir); err == nil {
			pool.Usage, pool.Limit = quota.Referenced, quota.ReferencedLimit
		}
		return pool, nil
	})
}

// SetPoolLimit limits the size of all images in the pool together; Unknown is
// no limit. The pool is made a subvolume with quota if it is on btrfs, and is
// machine1.ErrNotSupported elsewhere.
//
// Reference: machined-dbus.c, method_set_pool_limit; machine-pool.c.
func (s *Store) SetPoolLimit(_ context.Context, limit uint64) error {
	if err := checkLimit(limit); err != nil {
		return err
	}
	pool, err := s.openPool()
	if err != nil {
		return err
	}
	defer pool.Close()
	onBtrfs, err := btrfs.Is(pool)
	if err == nil && onBtrfs {
		err = limitSubvolume(pool, limit)
	}
	switch {
	case !onBtrfs, errors.Is(err, unix.ENOTTY):
		return machine1.Errorf(machine1.ErrNotSupported, "Quota is only supported on btrfs.")
	case err != nil:
		return machine1.Errorf(err, "Failed to adjust quota limit: %v", err)
	}
	return nil
}

// openPool opens the pool, which is made if it is not there, as a subvolume
// where it can be one.
func (s *Store) openPool() (*os.File, error) {
	pool, err := os.Open(s.cfg.Pool)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makePool(s.cfg.Pool); err != nil {
			return nil, fmt.Errorf("cannot make the image pool: %w", err)
		}
		pool, err = os.Open(s.cfg.Pool)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the image pool: %w", err)
	}
	return pool, nil
}
