package machine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// An IDKind is what an id is the number of.
type IDKind int

const (
	UserID IDKind = iota
	GroupID
)

var (
	// ErrHostRange says that an id belongs to the host's own users or groups.
	// It is wrapped together with ErrNoSuchUserMapping or
	// ErrNoSuchGroupMapping.
	ErrHostRange = errors.New("id belongs to the host")
	// ErrNotContainer says that a machine has no ids of its own. It is an
	// ErrInvalidArgs.
	ErrNotContainer = machine1.Errorf(machine1.ErrInvalidArgs, "Not supported for non-container machines.")
)

// hostRange is how many ids from 0 on belong to the host.
const hostRange = 0x10000

// MapFrom returns the host's id for the id inner of the machine called name.
// An id that the machine does not have is ErrNoSuchUserMapping, for groups as
// well.
//
// Reference: machined-dbus.c, method_map_from_machine_user and …_group.
func (m *Manager) MapFrom(ctx context.Context, name string, kind IDKind, inner uint32) (uint32, error) {
	if !validID(inner) {
		return 0, kind.invalid(inner)
	}
	seen, err := m.find(name)
	if err != nil {
		return 0, err
	}
	if seen.Class != machine1.ClassContainer {
		return 0, ErrNotContainer
	}
	ids, err := seen.ids(kind)
	if err != nil {
		return 0, fmt.Errorf("cannot map an id of %s: %w", name, err)
	}
	outer, ok := ids.Outside(inner)
	if !ok {
		return 0, machine1.Errorf(machine1.ErrNoSuchUserMapping,
			"Machine '%s' has no matching %s mappings.", name, kind)
	}
	return outer, nil
}

// MapTo returns the machine that the host's id outer belongs to, and what the
// id is there. It looks at machines by name and takes the first.
//
// Reference: machined-core.c, manager_find_machine_for_uid and …_gid.
func (m *Manager) MapTo(ctx context.Context, kind IDKind, outer uint32) (Machine, uint32, error) {
	if !validID(outer) {
		return Machine{}, 0, kind.invalid(outer)
	}
	if outer < hostRange {
		return Machine{}, 0, kind.hostRange(outer)
	}
	for seen := range m.View().All() {
		if seen.Class != machine1.ClassContainer {
			continue
		}
		ids, err := seen.ids(kind)
		if err != nil {
			continue
		}
		if inner, ok := insideOf(ids, outer); ok {
			return seen, inner, nil
		}
	}
	return Machine{}, 0, machine1.Errorf(kind.noMapping(),
		"No matching %s mapping for %d.", kind, outer)
}

// insideOf is ids.Inside without the ranges that begin with the host's root:
// they are of machines without ids of their own.
func insideOf(ids proc.IDMap, outer uint32) (uint32, bool) {
	for i, r := range ids {
		if r.Outside == 0 {
			continue
		}
		if inner, ok := ids[i : i+1].Inside(outer); ok {
			return inner, true
		}
	}
	return 0, false
}

// A readMap is a map as it was read, and the namespace it is of.
type readMap struct {
	namespace uint64
	ids       proc.IDMap
}

// ids returns the map of the machine's users or groups. Whoever asks for one of
// the host's ids has all machines' maps looked at, so what was read is kept as
// long as the leader lives in the same user namespace: a map is written once.
func (m Machine) ids(kind IDKind) (proc.IDMap, error) {
	namespace, err := m.Leader.NamespaceID("user")
	if err != nil {
		return nil, err
	}
	kept := &m.life.ids[kind]
	if last := kept.Load(); last != nil && last.namespace == namespace {
		return last.ids, nil
	}
	read := m.Leader.UIDMap
	if kind == GroupID {
		read = m.Leader.GIDMap
	}
	ids, err := read()
	// An empty map is one that has not been written yet.
	if err == nil && len(ids) > 0 {
		kept.Store(&readMap{namespace, ids})
	}
	return ids, err
}

// validID is false for the numbers that mean "nobody" in 16 and in 32 bits.
func validID(id uint32) bool { return id != math.MaxUint16 && id != math.MaxUint32 }

func (k IDKind) String() string {
	if k == GroupID {
		return "group"
	}
	return "user"
}

func (k IDKind) noMapping() error {
	if k == GroupID {
		return machine1.ErrNoSuchGroupMapping
	}
	return machine1.ErrNoSuchUserMapping
}

func (k IDKind) invalid(id uint32) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid %s ID %d", k, id)
}

func (k IDKind) hostRange(id uint32) error {
	text := fmt.Sprintf("User %d belongs to host UID range", id)
	if k == GroupID {
		text = fmt.Sprintf("Group %d belongs to host GID range", id)
	}
	return &hostRangeError{text, k.noMapping()}
}

// A hostRangeError has the reference's text and two kinds.
type hostRangeError struct {
	text string
	kind error
}

func (e *hostRangeError) Error() string   { return e.text }
func (e *hostRangeError) Unwrap() []error { return []error{e.kind, ErrHostRange} }
