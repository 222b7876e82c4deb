package btrfs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The numbers of include/uapi/linux/btrfs.h.
const (
	ioctlSnapDestroy       = 0x5000940f
	ioctlSubvolumeCreate   = 0x5000940e
	ioctlSnapCreate        = 0x50009417 // version 2
	ioctlTreeSearch        = 0xd0009411
	ioctlSubvolumeGetFlags = 0x80089419
	ioctlSubvolumeSetFlags = 0x4008941a
	ioctlSubvolumeInfo     = 0x81f8943c // since Linux 4.18
	ioctlSubvolumeRootRef  = 0xd000943d // since Linux 4.18
	ioctlInodeLookupUser   = 0xd000943e // since Linux 4.18

	ioctlQuotaControl      = 0xc0109428
	ioctlQgroupAssign      = 0x40189429
	ioctlQgroupCreate      = 0x4010942a
	ioctlQgroupLimit       = 0x8030942b
	ioctlQuotaRescan       = 0x4040942c
	ioctlQuotaRescanStatus = 0x8040942d
	ioctlQuotaRescanWait   = 0x942e
)

const (
	subvolumeReadOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY, in subvolume flags and snapshot arguments
	rootReadOnly      = 1 << 0 // BTRFS_ROOT_SUBVOL_RDONLY, in subvolumeInfo.Flags

	quotaEnable     = 1      // BTRFS_QUOTA_CTL_ENABLE
	limitReferenced = 1 << 0 // BTRFS_QGROUP_LIMIT_MAX_RFER
	limitExclusive  = 1 << 1 // BTRFS_QGROUP_LIMIT_MAX_EXCL

	quotaTree = 8 // BTRFS_QUOTA_TREE_OBJECTID
)

// volumeArgs is struct btrfs_ioctl_vol_args.
type volumeArgs struct {
	FD   int64
	Name [4088]byte
}

// volumeArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volumeArgsV2 struct {
	FD, Transaction int64
	Flags           uint64
	Unused          [4]uint64
	Name            [4040]byte
}

// subvolumeInfo is struct btrfs_ioctl_get_subvol_info_args.
type subvolumeInfo struct {
	TreeID         uint64
	Name           [256]byte
	ParentID       uint64
	DirID          uint64
	Generation     uint64
	Flags          uint64
	UUID           [16]byte
	ParentUUID     [16]byte
	ReceivedUUID   [16]byte
	Transactions   [4]uint64
	Changed, Birth timespec // ctime, otime
	Sent, Received timespec
	Reserved       [8]uint64
}

// timespec is struct btrfs_ioctl_timespec.
type timespec struct {
	Sec  uint64
	Nsec uint32
	_    uint32
}

func (t timespec) micros() uint64 { return t.Sec*1_000_000 + uint64(t.Nsec)/1_000 }

// rootRefs is struct btrfs_ioctl_get_subvol_rootref_args.
type rootRefs struct {
	MinTreeID uint64
	Refs      [255]struct{ TreeID, DirID uint64 }
	Count     uint8
	_         [7]byte
}

// inodeLookup is struct btrfs_ioctl_ino_lookup_user_args.
type inodeLookup struct {
	DirID, TreeID uint64
	Name          [256]byte
	Path          [3824]byte
}

// searchKey is struct btrfs_ioctl_search_key.
type searchKey struct {
	TreeID                         uint64
	MinObject, MaxObject           uint64
	MinOffset, MaxOffset           uint64
	MinTransaction, MaxTransaction uint64
	MinType, MaxType               uint32
	Items                          uint32
	_                              uint32
	_                              [4]uint64
}

// searchArgs is struct btrfs_ioctl_search_args.
type searchArgs struct {
	Key searchKey
	Buf [3992]byte
}

type quotaControlArgs struct{ Command, Status uint64 }
type qgroupAssignArgs struct{ Assign, Source, Target uint64 }
type qgroupCreateArgs struct{ Create, ID uint64 }
type qgroupLimitArgs struct {
	ID                            uint64
	Flags, Referenced, Exclusive  uint64
	ReservedRfer, ReservedExclsve uint64
}
type quotaRescanArgs struct {
	Flags, Progress uint64
	_               [6]uint64
}

// ioctl returns the kernel's answer, which is more than 0 for some requests.
func ioctl[T any](fd int, request uint, args *T) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(args)))
		if errno == 0 {
			return int(n), nil
		}
		if !errors.Is(errno, unix.EINTR) {
			return 0, errno
		}
	}
}

func newVolumeArgs(name string) (*volumeArgs, error) {
	args := &volumeArgs{}
	return args, setName(args.Name[:256], name)
}

func setName(to []byte, name string) error {
	if name == "" || len(name) >= len(to) {
		return fmt.Errorf("cannot use %q as the name of a subvolume: %w", name, unix.ENAMETOOLONG)
	}
	copy(to, name)
	return nil
}
