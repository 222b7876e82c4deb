package btrfs

import (
	"bytes"
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// A child is a subvolume directly inside another one.
type child struct {
	id   uint64
	dir  string // relative to the outer one's top, "." for the top itself
	name string
}

// children returns the subvolumes directly inside the one whose top is fd.
func children(fd int) ([]child, error) {
	var found []child
	args := rootRefs{}
	for {
		_, err := ioctl(fd, ioctlSubvolumeRootRef, &args)
		more := errors.Is(err, unix.EOVERFLOW) // the array is full, and there are more
		if err != nil && !more {
			return nil, err
		}
		for _, ref := range args.Refs[:args.Count] {
			c, err := locate(fd, ref.TreeID, ref.DirID)
			if err != nil {
				return nil, err
			}
			found = append(found, c)
		}
		if !more || args.Count == 0 || args.MinTreeID == math.MaxUint64 {
			return found, nil
		}
		args.MinTreeID = args.Refs[args.Count-1].TreeID + 1
		args.Count = 0
	}
}

func locate(fd int, treeID, dirID uint64) (child, error) {
	args := inodeLookup{DirID: dirID, TreeID: treeID}
	if _, err := ioctl(fd, ioctlInodeLookupUser, &args); err != nil {
		return child{}, err
	}
	dir := text(args.Path[:]) // "", or with a slash at the end
	if dir == "" {
		dir = "."
	}
	return child{id: treeID, dir: dir, name: text(args.Name[:])}, nil
}

// openParent opens the directory that c is in, below the subvolume fd.
func (c child) openParent(fd int) (int, error) { return openBeneath(fd, c.dir) }

func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}

// openBeneath opens a directory of the tree fd through no link and no mount
// point: both may have been put there since the kernel named the path.
func openBeneath(fd int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		opened, err := unix.Openat2(fd, path, &how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return opened, err
		}
	}
}
