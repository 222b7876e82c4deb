package inside

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/daemon/internal/task"
)

// copyOptions says how to copy between the host and the machine.
func copyOptions(leader *proc.PIDFD, c Copy, to direction) (filetree.CopyOptions, error) {
	o := filetree.CopyOptions{XAttrs: filetree.UserXAttrs, Merge: true, Replace: c.Replace}
	ids, err := idsOf(leader)
	if err != nil {
		return o, err
	}
	if o.Owner, err = ids.rule(leader, c.Ownership, to); err != nil {
		return o, err
	}
	if to == fromMachine {
		o.Readable = func(fsType int64) bool { return !rootfs.KernelFS(fsType) }
		return o, nil
	}
	root, ok := ids.root()
	if !ok {
		return o, fmt.Errorf("the machine's user namespace has no root, whom files there would be made as: %w", unix.ENXIO)
	}
	// A machine whose root is the host's may write wherever that may.
	if !root.ours() {
		o.MayFill = ids.mayFill
		o.Worker = func(work func() error) error { return asMightyOwner(root, work) }
	}
	return o, nil
}

// copyIDs are a machine's users and groups.
type copyIDs struct{ users, groups proc.IDMap }

func idsOf(leader *proc.PIDFD) (copyIDs, error) {
	users, err := leader.UIDMap()
	if err != nil {
		return copyIDs{}, err
	}
	groups, err := leader.GIDMap()
	return copyIDs{users, groups}, err
}

// root returns what the machine's root is on the host.
func (m copyIDs) root() (identity, bool) {
	uid, haveUser := m.users.Outside(0)
	gid, haveGroup := m.groups.Outside(0)
	return identity{uid, gid}, haveUser && haveGroup
}

// mayFill reports whether the machine's root may put files into a directory.
func (m copyIDs) mayFill(uid, gid, mode uint32) bool {
	_, user := m.users.Inside(uid)
	_, group := m.groups.Inside(gid)
	return user && group || mode&unix.S_IWOTH != 0
}

// rule returns the owners of copies; nil keeps them.
func (m copyIDs) rule(leader *proc.PIDFD, o Ownership, to direction) (func(uid, gid uint32) (uint32, uint32, bool), error) {
	if o == OwnershipMapped {
		return m.translate(to), nil
	}
	shift, err := leader.UIDShift()
	switch {
	case errors.Is(err, proc.ErrComplexMapping):
		return nil, fmt.Errorf("%w (%w)", err, unix.ENXIO)
	case err != nil:
		return nil, err
	case shift == 0:
		return nil, nil
	case to == fromMachine:
		shift = 0
	}
	return func(_, _ uint32) (uint32, uint32, bool) { return shift, shift, true }, nil
}

// translate gives the copy the owner that has the same numbers on the other
// side. An owner without them, say a user of the host beyond the machine's
// range, cannot be had there.
func (m copyIDs) translate(to direction) func(uid, gid uint32) (uint32, uint32, bool) {
	user, group := m.users.Inside, m.groups.Inside
	if to == toMachine {
		user, group = m.users.Outside, m.groups.Outside
	}
	return func(uid, gid uint32) (uint32, uint32, bool) {
		newUID, haveUser := user(uid)
		newGID, haveGroup := group(gid)
		return newUID, newGID, haveUser && haveGroup
	}
}

// filePowers are the capabilities that a thread loses with the file system id
// of root and that copying needs.
const filePowers = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_MKNOD | 1<<unix.CAP_LINUX_IMMUTABLE

// asMightyOwner runs do on a thread that makes files as owner, which file
// systems of a machine's own want, and may still read and give away all files.
func asMightyOwner(owner identity, do func() error) error {
	return task.OnThread(func() error {
		if err := setFSIDs(owner); err != nil {
			return err
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			return fmt.Errorf("cannot tell our capabilities: %w", err)
		}
		sets[0].Effective |= filePowers & sets[0].Permitted
		if err := unix.Capset(&header, &sets[0]); err != nil {
			return fmt.Errorf("cannot set our capabilities: %w", err)
		}
		return do()
	})
}
