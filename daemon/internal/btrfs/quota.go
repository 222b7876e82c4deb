package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Unknown stands for a size that is not known, and for no limit.
const Unknown uint64 = math.MaxUint64

// Quota is what a quota group counts, and its limits, in bytes.
type Quota struct {
	Referenced, Exclusive           uint64
	ReferencedLimit, ExclusiveLimit uint64
}

// EnableQuota turns accounting on for the file system that dir is on. ENOTTY:
// not btrfs.
func EnableQuota(dir *os.File) error {
	return withQgroups(dir, "enable quota for", func(q qgroups) error {
		_, err := ioctl(q.fd, ioctlQuotaControl, &quotaControlArgs{Command: quotaEnable})
		return err
	})
}

// Counting reports whether the kernel is counting anew, so that numbers are
// not to be believed.
func Counting(dir *os.File) (bool, error) {
	var args quotaRescanArgs
	err := withQgroups(dir, "ask for the quota of", func(q qgroups) error {
		_, err := ioctl(q.fd, ioctlQuotaRescanStatus, &args)
		return err
	})
	return args.Flags != 0, err
}

// Subtree returns the quota of the subvolume that dir is in, with all those
// inside it if it has a group for that (Arrange makes one). ENODATA: quota is
// off.
//
// Reference: btrfs-util.c, btrfs_subvol_get_subtree_quota_fd.
func Subtree(dir *os.File) (quota Quota, err error) {
	err = withSubvolume(dir, "read the quota of", func(q qgroups, subvolume uint64) error {
		group, err := q.subtree(subvolume)
		if err == nil {
			quota, err = q.read(group)
		}
		return err
	})
	return quota, err
}

// Limit limits the referenced bytes of the subvolume that dir is in, alone;
// Unknown is no limit. Quota must be on.
func Limit(dir *os.File, referenced uint64) error {
	return withSubvolume(dir, "limit", func(q qgroups, subvolume uint64) error {
		return q.limit(subvolume, referenced)
	})
}

// LimitSubtree limits the referenced bytes of the group that Subtree reads.
//
// Reference: btrfs-util.c, btrfs_subvol_set_subtree_quota_limit_fd.
func LimitSubtree(dir *os.File, referenced uint64) error {
	return withSubvolume(dir, "limit", func(q qgroups, subvolume uint64) error {
		group, err := q.subtree(subvolume)
		if err != nil {
			return err
		}
		return q.limit(group, referenced)
	})
}

func (q qgroups) read(qgroup uint64) (Quota, error) {
	quota := Quota{Unknown, Unknown, Unknown, Unknown}
	found := false
	var err error
	for _, kind := range []uint32{itemQgroupInfo, itemQgroupLimit} {
		err = errors.Join(err, searchQuota(q.fd, 0, kind, qgroup, qgroup, func(i item) {
			found = quota.take(i) || found
		}))
	}
	if err == nil && !found {
		err = unix.ENODATA
	}
	return quota, err
}

// take takes the numbers out of an item of the quota tree. Disk format is
// little-endian whatever the machine is.
func (quota *Quota) take(i item) bool {
	const words = 5
	if len(i.data) < words*8 {
		return false
	}
	word := func(n int) uint64 { return binary.LittleEndian.Uint64(i.data[n*8:]) }
	switch i.kind {
	case itemQgroupInfo: // generation, referenced, compressed, exclusive, compressed
		quota.Referenced, quota.Exclusive = word(1), word(3)
	case itemQgroupLimit: // flags, referenced, exclusive, reserved, reserved
		if word(0)&limitReferenced != 0 && word(1) != 0 {
			quota.ReferencedLimit = word(1)
		}
		if word(0)&limitExclusive != 0 && word(2) != 0 {
			quota.ExclusiveLimit = word(2)
		}
	default:
		return false
	}
	return true
}

func withQgroups(dir *os.File, verb string, fn func(qgroups) error) error {
	return withFD(dir, func(fd int) error {
		if err := fn(qgroups{fd}); err != nil {
			return fmt.Errorf("cannot %s %s: %w", verb, dir.Name(), err)
		}
		return nil
	})
}

func withSubvolume(dir *os.File, verb string, fn func(q qgroups, subvolume uint64) error) error {
	return withQgroups(dir, verb, func(q qgroups) error {
		ok, err := isSubvolume(q.fd)
		if err == nil && !ok {
			err = unix.ENOTTY
		}
		if err != nil {
			return err
		}
		info, err := describe(q.fd)
		if errors.Is(err, unix.ENOTTY) {
			err = unix.EOPNOTSUPP // a kernel before 4.18
		}
		if err != nil {
			return err
		}
		return fn(q, info.ID)
	})
}
