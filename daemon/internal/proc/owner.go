package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxUserNamespaces is how far OwnedBy walks up; the kernel allows 32 levels.
const maxUserNamespaces = 16

// OwnedBy reports whether uid may speak for the process: its real UID is uid,
// or a user namespace that it lives in was made by uid.
//
// Reference: machine.c, pidref_is_owned_by_uid and process_is_owned_by_uid.
func (p *PIDFD) OwnedBy(uid uint32) (bool, error) {
	own, err := p.UID()
	if err != nil {
		return false, err
	}
	if own == uid {
		return true, nil
	}
	ns, err := p.Namespace("user")
	if err != nil {
		return false, err
	}
	defer func() { ns.Close() }()
	for range maxUserNamespaces {
		ours, err := isOwnNamespace(ns, "user")
		if err != nil || ours {
			return false, err
		}
		owner, parent, err := ownerAndParent(ns)
		if err != nil {
			return false, fmt.Errorf("cannot tell who owns process %d: %w", p.PID(), err)
		}
		if parent != nil {
			ns.Close()
			ns = parent
		}
		if owner == uid || parent == nil {
			return owner == uid, nil
		}
	}
	return false, nil
}

// ownerAndParent returns who made a user namespace, and in which one; nil if
// that is above ours.
func ownerAndParent(ns *os.File) (owner uint32, parent *os.File, err error) {
	owner, err = unix.IoctlGetUint32(int(ns.Fd()), unix.NS_GET_OWNER_UID)
	if err != nil {
		return 0, nil, err
	}
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_PARENT)
	switch err {
	case nil:
		return owner, os.NewFile(uintptr(fd), "user"), nil
	case unix.EPERM:
		return owner, nil, nil
	}
	return 0, nil, err
}

// SameNamespace reports whether the process is in our namespace of the kind,
// one of the names in /proc/PID/ns.
func (p *PIDFD) SameNamespace(kind string) (bool, error) {
	ns, err := p.Namespace(kind)
	if err != nil {
		return false, err
	}
	defer ns.Close()
	return isOwnNamespace(ns, kind)
}

// NamespaceID returns the number of the process's namespace of the kind. As long
// as the namespace exists no other one has it.
func (p *PIDFD) NamespaceID(kind string) (uint64, error) {
	var stat unix.Stat_t
	err := unix.Stat(p.path("ns/"+kind), &stat)
	if err = p.seen(err); err != nil {
		return 0, fmt.Errorf("cannot tell the %s namespace of process %d: %w", kind, p.PID(), err)
	}
	return stat.Ino, nil
}

// Namespace opens the process's namespace of the kind, one of the names in
// /proc/PID/ns. The caller closes it.
func (p *PIDFD) Namespace(kind string) (*os.File, error) {
	ns, err := os.Open(p.path("ns/" + kind))
	if err = p.seen(err); err != nil {
		ns.Close() // nil, if it is not open
		return nil, fmt.Errorf("cannot open the %s namespace of process %d: %w", kind, p.PID(), err)
	}
	return ns, nil
}

func isOwnNamespace(ns *os.File, kind string) (bool, error) {
	theirs, err := ns.Stat()
	if err != nil {
		return false, err
	}
	ours, err := os.Stat("/proc/self/ns/" + kind)
	if err != nil {
		return false, err
	}
	return os.SameFile(theirs, ours), nil
}

// OpenRoot opens the root directory of the process as an O_PATH descriptor.
func (p *PIDFD) OpenRoot() (*os.File, error) {
	fd, err := unix.Open(p.path("root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err = p.seen(err); err != nil {
		unix.Close(fd) // -1, if it is not open
		return nil, fmt.Errorf("cannot open the root of process %d: %w", p.PID(), err)
	}
	return os.NewFile(uintptr(fd), "root"), nil
}

// seen returns how looking at a link of /proc/PID went: ESRCH if that may have
// been another process's, or if the process is ending and has given up already
// what the link leads to.
func (p *PIDFD) seen(err error) error {
	if err := p.verify(); err != nil {
		return err
	}
	if errors.Is(err, unix.ENOENT) {
		return unix.ESRCH
	}
	return err
}
