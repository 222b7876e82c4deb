package inside

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
)

// openSource returns a mount of b's source that is mounted nowhere yet and has
// all its attributes. It is the host's own table that the source is looked up
// in, so the daemon must not live in a mount namespace of its own.
func openSource(leader *proc.PIDFD, b Bind) (*os.File, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	fd, err := rootfs.Retry(func() (int, error) { return unix.OpenTree(unix.AT_FDCWD, b.Source, flags) })
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("there is no %s on the host: %w", b.Source, err)
	case errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("%s cannot be bind mounted, as it is unbindable or not in the host's mount namespace: %w", b.Source, err)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: b.Source, Err: err}
	}
	tree := os.NewFile(uintptr(fd), b.Source)
	if err := setAttributes(tree, leader, b); err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}

// setAttributes takes the mount out of the source's peer group: whatever the
// machine mounts below it would appear on the host otherwise.
func setAttributes(tree *os.File, leader *proc.PIDFD, b Bind) error {
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if b.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	users, err := ownUsers(leader, b)
	if err != nil {
		return err
	}
	if users != nil {
		defer users.Close()
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(users.Fd())
	}
	err = unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH, &attr)
	switch {
	case err != nil && users == nil:
		return fmt.Errorf("cannot set the attributes of the mount: %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the file system of %s cannot be shown with the machine's owners; "+
			"move it to one with ID-mapped mounts, such as ext4, xfs, btrfs or tmpfs: %w", b.Source, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("the owners on %s are mapped already, so they cannot be the machine's; "+
			"take a source that is not on an ID-mapped mount: %w", b.Source, err)
	case err != nil:
		return fmt.Errorf("cannot map the owners of %s: %w", b.Source, err)
	}
	return nil
}

// ownUsers returns the user namespace by which the owners are to be mapped, nil
// if they stay as they are.
func ownUsers(leader *proc.PIDFD, b Bind) (*os.File, error) {
	if !b.IDMapped {
		return nil, nil
	}
	if ours, err := leader.SameNamespace("user"); err != nil || ours {
		return nil, err
	}
	return leader.Namespace("user")
}
