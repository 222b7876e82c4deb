package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrComplexMapping is the error of UIDShift when a user namespace maps more
// than one range, or users and groups differently.
var ErrComplexMapping = errors.New("UID/GID mapping is complex")

// minShiftRange is how many ids a machine's one range must have.
const minShiftRange = 65534

// UIDShift returns the UID that root of the process's user namespace has
// outside, 0 if the namespace shifts nothing.
//
// Reference: machine.c, machine_get_uid_shift.
func (p *PIDFD) UIDShift() (uint32, error) {
	uids, err := p.idMap("uid_map")
	if err != nil {
		return 0, err
	}
	if uids == nil {
		return 0, nil
	}
	gids, err := p.idMap("gid_map")
	if err != nil {
		return 0, err
	}
	if len(uids) != 1 || len(gids) != 1 || uids[0] != gids[0] {
		return 0, ErrComplexMapping
	}
	if uids[0].inside != 0 || uids[0].count < minShiftRange {
		return 0, ErrComplexMapping
	}
	return uids[0].outside, nil
}

// idMap returns nil, nil on a kernel without user namespaces.
func (p *PIDFD) idMap(name string) ([]idRange, error) {
	data, err := p.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ranges, err := parseIDMap(data)
	if err != nil {
		return nil, fmt.Errorf("cannot understand %s of process %d: %w", name, p.PID(), err)
	}
	return ranges, nil
}

// idRange is one line of a uid_map or gid_map file.
type idRange struct{ inside, outside, count uint32 }

func parseIDMap(data []byte) ([]idRange, error) {
	var ranges []idRange
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %q has not three fields", line)
		}
		var n [3]uint32
		for i, field := range fields {
			v, err := strconv.ParseUint(string(field), 10, 32)
			if err != nil {
				return nil, err
			}
			n[i] = uint32(v)
		}
		ranges = append(ranges, idRange{n[0], n[1], n[2]})
	}
	return ranges, nil
}

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
	ns, err := p.openNamespace("user")
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
	ns, err := p.openNamespace(kind)
	if err != nil {
		return false, err
	}
	defer ns.Close()
	return isOwnNamespace(ns, kind)
}

func (p *PIDFD) openNamespace(kind string) (*os.File, error) {
	ns, err := os.Open(p.path("ns/" + kind))
	if verr := p.verify(); verr != nil {
		if err == nil {
			ns.Close()
		}
		err = verr
	}
	if err != nil {
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
	if verr := p.verify(); verr != nil {
		if err == nil {
			unix.Close(fd)
		}
		err = verr
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the root of process %d: %w", p.PID(), err)
	}
	return os.NewFile(uintptr(fd), "root"), nil
}
