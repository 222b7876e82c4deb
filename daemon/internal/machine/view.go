package machine

import (
	"fmt"
	"iter"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// A View is all machines there were at one moment. It never changes, so a
// reader takes no lock and cannot be kept waiting by a writer.
//
// Its indexes are persistent radix trees: a change copies the few nodes
// on the path to the one leaf and shares all others with the View before, so
// it costs the same among 10 machines and among 10,000. Copying a map or a
// sorted slice for each change would cost one step per machine, and a locked
// map would let a slow reader hold up a registration. A radix tree is sorted
// besides, which lists by name and finds by the prefix of a key for nothing.
type View struct {
	byName   *iradix.Tree[*Machine]
	byLeader *iradix.Tree[*Machine] // key of identity
	byUnit   *iradix.Tree[*Machine] // only those that own their unit

	// Of those that have a part of their unit, by the unit, a slash and the
	// name: only those whose supervisor has another part.
	supervised *iradix.Tree[*Machine]
}

func newView() *View {
	return &View{
		byName:   iradix.New[*Machine](),
		byLeader: iradix.New[*Machine](),
		byUnit:   iradix.New[*Machine](),

		supervised: iradix.New[*Machine](),
	}
}

// Get returns the machine called name.
func (v *View) Get(name string) (Machine, bool) {
	return found(v.byName.Get([]byte(name)))
}

// Lookup is Get without a copy, nil if there is none. The machine is the View's,
// and as little to be changed.
func (v *View) Lookup(name string) *Machine {
	m, _ := v.byName.Get([]byte(name))
	return m
}

// ByLeader returns the machine whose leader is the process pid. id is the
// inode of its pidfd; if either side does not know it (0), the PID decides.
func (v *View) ByLeader(pid int, id uint64) (Machine, bool) {
	if id == 0 {
		at := v.byLeader.Root().Iterator()
		at.SeekPrefix(fmt.Appendf(nil, "%d/", pid))
		_, m, ok := at.Next()
		return found(m, ok)
	}
	if m, ok := found(v.byLeader.Get(identity{pid, id}.key())); ok {
		return m, true
	}
	return found(v.byLeader.Get(identity{pid, 0}.key()))
}

// ByUnit returns the machine that owns unit.
func (v *View) ByUnit(unit string) (Machine, bool) {
	return found(v.byUnit.Get([]byte(unit)))
}

// Follows reports whether how unit ends says how a machine ended.
func (v *View) Follows(unit string) bool {
	if _, ok := v.byUnit.Get([]byte(unit)); ok {
		return true
	}
	at := v.supervised.Root().Iterator()
	at.SeekPrefix([]byte(unit + "/"))
	_, _, ok := at.Next()
	return ok
}

// All yields the machines sorted by name.
func (v *View) All() iter.Seq[Machine] {
	return func(yield func(Machine) bool) {
		at := v.byName.Root().Iterator()
		for _, m, ok := at.Next(); ok; _, m, ok = at.Next() {
			if !yield(*m) {
				return
			}
		}
	}
}

// Named is All for the machines called names, each of which may be missing.
func (v *View) Named(names ...string) iter.Seq[Machine] {
	return func(yield func(Machine) bool) {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
			if m, ok := v.Get(name); ok && !yield(m) {
				return
			}
		}
	}
}

// Len returns how many machines there are.
func (v *View) Len() int { return v.byName.Len() }

// with returns the View that has m, in place of what had its name before.
func (v *View) with(m *Machine) *View {
	next := *v
	next.byName, _, _ = v.byName.Insert([]byte(m.Name), m)
	if m.leader.pid != 0 {
		next.byLeader, _, _ = v.byLeader.Insert(m.leader.key(), m)
	}
	if m.OwnsUnit() {
		next.byUnit, _, _ = v.byUnit.Insert([]byte(m.Unit), m)
	} else if m.sharesUnit() {
		next.supervised, _, _ = v.supervised.Insert([]byte(m.Unit+"/"+m.Name), m)
	}
	return &next
}

// without returns the View that lacks m, which v has.
func (v *View) without(m *Machine) *View {
	next := *v
	next.byName, _, _ = v.byName.Delete([]byte(m.Name))
	if m.leader.pid != 0 {
		next.byLeader, _, _ = v.byLeader.Delete(m.leader.key())
	}
	if m.OwnsUnit() {
		next.byUnit, _, _ = v.byUnit.Delete([]byte(m.Unit))
	} else if m.sharesUnit() {
		next.supervised, _, _ = v.supervised.Delete([]byte(m.Unit + "/" + m.Name))
	}
	return &next
}

func found(m *Machine, ok bool) (Machine, bool) {
	if !ok {
		return Machine{}, false
	}
	return *m, true
}
