package btrfs

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Arrange puts the subvolume into a quota group of its own id that counts it
// with all those inside it. That group is of the level below the lowest of
// those that the surrounding subvolume is in, or of level 255, and a member
// of those. Nothing is changed if the subvolume is in a group already. EBUSY:
// there is no level left.
//
// Reference: btrfs-util.c, btrfs_subvol_auto_qgroup_fd.
func Arrange(dir *os.File) error {
	return withSubvolume(dir, "arrange the quota groups of", func(q qgroups, _ uint64) error {
		info, err := describe(q.fd)
		if err != nil {
			return err
		}
		return q.arrange(info, true)
	})
}

// arrange puts a subvolume that is in no group into its own one, or beside
// the surrounding subvolume into the groups that this is in.
func (q qgroups) arrange(info Info, own bool) error {
	if parents, err := q.parents(info.ID); err != nil || len(parents) > 0 {
		return err
	}
	var around []uint64
	if info.Parent != 0 {
		var err error
		if around, err = q.parents(info.Parent); err != nil {
			return err
		}
	}
	if own {
		return q.insert(info.ID, around)
	}
	for _, group := range around {
		if err := q.assign(info.ID, group); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// insert makes the group between a subvolume's and those around it.
func (q qgroups) insert(subvolume uint64, around []uint64) error {
	lowest := uint64(maxLevel + 1)
	for _, group := range around {
		lowest = min(lowest, level(group))
	}
	if lowest <= 1 {
		return unix.EBUSY
	}
	made := qgroupID(lowest-1, subvolume)
	err := q.create(made)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	created := err == nil
	err = q.join(subvolume, made, around)
	if err != nil && created {
		_ = q.removeWithParents(made)
	}
	return err
}

func (q qgroups) join(subvolume, made uint64, around []uint64) error {
	for _, group := range around {
		if err := q.assign(made, group); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	if err := q.assign(subvolume, made); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// copyArrangement gives a snapshot the kind of groups that its source has.
//
// Reference: btrfs-util.c, copy_quota_hierarchy.
func copyArrangement(from, to int) error {
	q := qgroups{from}
	source, err := describe(from)
	if err != nil {
		return err
	}
	groups, err := q.parents(source.ID)
	if err != nil || len(groups) == 0 {
		return err
	}
	var around []uint64
	if source.Parent != 0 {
		if around, err = q.parents(source.Parent); err != nil {
			return err
		}
	}
	own := slices.ContainsFunc(groups, func(g uint64) bool { return groupID(g) == source.ID })
	shared := slices.ContainsFunc(groups, func(g uint64) bool { return slices.Contains(around, g) })
	if !own && !shared {
		return nil
	}
	made, err := describe(to)
	if err != nil {
		return err
	}
	return qgroups{to}.arrange(made, own)
}

// copyLimits copies the limits of a subvolume's group and of its subtree's.
//
// Reference: btrfs-util.c, copy_subtree_quota_limits.
func copyLimits(from, to int) error {
	source, err := describe(from)
	if err != nil {
		return err
	}
	made, err := describe(to)
	if err != nil {
		return err
	}
	q := qgroups{to}
	oldTree, err := q.subtree(source.ID)
	if err != nil {
		return err
	}
	newTree, err := q.subtree(made.ID)
	if err != nil {
		return err
	}
	if err := q.copyLimit(oldTree, newTree); err != nil || newTree == made.ID {
		return err
	}
	return q.copyLimit(source.ID, made.ID)
}

func (q qgroups) copyLimit(from, to uint64) error {
	quota, err := q.read(from)
	if err != nil || quota.ReferencedLimit == Unknown {
		return err
	}
	return q.limit(to, quota.ReferencedLimit)
}
