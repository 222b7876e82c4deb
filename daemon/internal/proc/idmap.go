package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
)

// ErrComplexMapping says that the ids of a user namespace are not what the
// caller can work with: for UIDShift more than one range, or users and groups
// mapped differently; for RootIDs no root user or no root group.
var ErrComplexMapping = errors.New("UID/GID mapping is complex")

// minShiftRange is how many ids a machine's one range must have.
const minShiftRange = 65534

// noID stands for no user and no group. As the outer end of a range it means
// that the range is not mapped into our own user namespace.
const noID = math.MaxUint32

// An IDRange says that Count ids from Inside on, in a user namespace, are the
// ids from Outside on in ours.
type IDRange struct{ Inside, Outside, Count uint32 }

// An IDMap is all users or all groups of a user namespace. It is empty as long
// as nobody has written it: then the namespace has no ids at all.
type IDMap []IDRange

// identity is the map of a process that lives in our own user namespace.
var identity = IDMap{{0, 0, noID}}

// Outside returns what the id inside is in our user namespace.
func (m IDMap) Outside(inside uint32) (uint32, bool) {
	for _, r := range m {
		if id, ok := shift(inside, r.Inside, r.Outside, r.Count); ok && r.Outside != noID {
			return id, true
		}
	}
	return 0, false
}

// Inside returns what our id outside is in the user namespace.
func (m IDMap) Inside(outside uint32) (uint32, bool) {
	for _, r := range m {
		if id, ok := shift(outside, r.Outside, r.Inside, r.Count); ok && r.Outside != noID {
			return id, true
		}
	}
	return 0, false
}

// shift moves id from the count ids at from to those at to.
func shift(id, from, to, count uint32) (uint32, bool) {
	if id == noID || id < from || id-from >= count {
		return 0, false
	}
	moved := uint64(to) + uint64(id-from)
	return uint32(moved), moved < noID
}

// UIDMap returns the users of the process's user namespace. Without user
// namespaces, or in our own one, every user is itself.
func (p *PIDFD) UIDMap() (IDMap, error) { return p.idMap("uid_map") }

// GIDMap returns the groups, as UIDMap does the users.
func (p *PIDFD) GIDMap() (IDMap, error) { return p.idMap("gid_map") }

// RootIDs returns what root and its group in the process's user namespace are
// in ours. They need not be equal, nor in one range with others.
func (p *PIDFD) RootIDs() (uid, gid uint32, err error) {
	users, err := p.UIDMap()
	if err != nil {
		return 0, 0, err
	}
	groups, err := p.GIDMap()
	if err != nil {
		return 0, 0, err
	}
	uid, haveUser := users.Outside(0)
	gid, haveGroup := groups.Outside(0)
	if !haveUser || !haveGroup {
		return 0, 0, fmt.Errorf("process %d has no root user and group: %w", p.PID(), ErrComplexMapping)
	}
	return uid, gid, nil
}

// UIDShift returns the UID that root of the process's user namespace has
// outside, 0 if the namespace shifts nothing.
//
// Reference: machine.c, machine_get_uid_shift.
func (p *PIDFD) UIDShift() (uint32, error) {
	users, err := p.UIDMap()
	if err != nil {
		return 0, err
	}
	groups, err := p.GIDMap()
	if err != nil {
		return 0, err
	}
	if len(users) != 1 || len(groups) != 1 || users[0] != groups[0] {
		return 0, ErrComplexMapping
	}
	if users[0].Inside != 0 || users[0].Count < minShiftRange {
		return 0, ErrComplexMapping
	}
	return users[0].Outside, nil
}

func (p *PIDFD) idMap(name string) (IDMap, error) {
	data, err := p.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return identity, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parseIDMap(data)
	if err != nil {
		return nil, fmt.Errorf("cannot understand %s of process %d: %w", name, p.PID(), err)
	}
	if m.isIdentity() {
		return m, nil
	}
	// The kernel shows our own namespace from the one above it.
	ours, err := p.SameNamespace("user")
	if err != nil || ours {
		return identity, err
	}
	return m, nil
}

func (m IDMap) isIdentity() bool { return len(m) == 1 && m[0] == identity[0] }

// parseIDMap reads a uid_map or gid_map file. Reference: user_namespaces(7).
func parseIDMap(data []byte) (IDMap, error) {
	var m IDMap
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
		m = append(m, IDRange{n[0], n[1], n[2]})
	}
	return m, nil
}
