package btrfs

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// A quota group is a number: the level in the upper 16 bits, and below an id,
// which in level 0 is that of the group's subvolume.
const (
	levelShift = 48
	maxLevel   = 255 // the highest that systemd uses
)

func qgroupID(level, id uint64) uint64 { return level<<levelShift | id }
func level(qgroup uint64) uint64       { return qgroup >> levelShift }
func groupID(qgroup uint64) uint64     { return qgroup & (1<<levelShift - 1) }

// qgroups are the quota groups of the file system that fd is on.
type qgroups struct{ fd int }

func (q qgroups) create(qgroup uint64) error {
	return q.retry(func() error {
		_, err := ioctl(q.fd, ioctlQgroupCreate, &qgroupCreateArgs{Create: 1, ID: qgroup})
		return err
	})
}

func (q qgroups) remove(qgroup uint64) error {
	return q.retry(func() error {
		_, err := ioctl(q.fd, ioctlQgroupCreate, &qgroupCreateArgs{ID: qgroup})
		return err
	})
}

func (q qgroups) assign(qgroup, parent uint64) error   { return q.relate(qgroup, parent, 1) }
func (q qgroups) unassign(qgroup, parent uint64) error { return q.relate(qgroup, parent, 0) }

func (q qgroups) relate(qgroup, parent, assign uint64) error {
	return q.retry(func() error {
		answer, err := ioctl(q.fd, ioctlQgroupAssign, &qgroupAssignArgs{assign, qgroup, parent})
		if err == nil && answer > 0 {
			// The numbers are wrong until counted anew, which goes on
			// in the background.
			_, _ = ioctl(q.fd, ioctlQuotaRescan, &quotaRescanArgs{})
		}
		return err
	})
}

// limit limits the group's referenced bytes; MaxUint64 is no limit.
func (q qgroups) limit(qgroup, referenced uint64) error {
	return q.retry(func() error {
		args := qgroupLimitArgs{ID: qgroup, Flags: limitReferenced, Referenced: referenced}
		_, err := ioctl(q.fd, ioctlQgroupLimit, &args)
		return err
	})
}

// retry calls again when the kernel is counting, after waiting for it.
func (q qgroups) retry(call func() error) error {
	const attempts = 10
	var err error
	for range attempts {
		if err = call(); !errors.Is(err, unix.EBUSY) {
			return err
		}
		if _, err := ioctl[byte](q.fd, ioctlQuotaRescanWait, nil); err != nil {
			return err
		}
	}
	return err
}

// parents returns the groups that qgroup is a member of. There are none where
// quota is off.
func (q qgroups) parents(qgroup uint64) ([]uint64, error) {
	var found []uint64
	err := searchQuota(q.fd, qgroup, itemQgroupRelation, 0, math.MaxUint64, func(i item) {
		if i.offset > qgroup { // both sides are written down; members are the smaller ones
			found = append(found, i.offset)
		}
	})
	if errors.Is(err, errNoQuota) {
		return nil, nil
	}
	return found, err
}

// removeWithParents removes the group, and those it is in that bear its id.
//
// Reference: btrfs-util.c, btrfs_qgroup_destroy_recursive.
func (q qgroups) removeWithParents(qgroup uint64) error {
	parents, err := q.parents(qgroup)
	if err != nil {
		return err
	}
	for _, parent := range parents {
		if err := q.unassign(qgroup, parent); err != nil {
			return err
		}
		if groupID(parent) == groupID(qgroup) {
			_ = q.removeWithParents(parent) // it may have other members
		}
	}
	return q.remove(qgroup)
}

// subtree returns the group that counts a subvolume with those inside it: one
// of a higher level with the subvolume's id. Without one it is the
// subvolume's own.
//
// Reference: btrfs-util.c, btrfs_subvol_find_subtree_qgroup.
func (q qgroups) subtree(subvolume uint64) (uint64, error) {
	parents, err := q.parents(subvolume)
	if err != nil {
		return 0, err
	}
	found := subvolume
	for _, parent := range parents {
		if groupID(parent) == subvolume && (found == subvolume || level(parent) < level(found)) {
			found = parent
		}
	}
	return found, nil
}
