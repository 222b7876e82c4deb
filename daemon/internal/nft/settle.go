package nft

import (
	"fmt"
	"slices"
)

// attempts at what looks, or looks before. Somebody else may be at it, too.
const attempts = 3

// settle has what is written after a look at the tables done.
func (t *Table) settle(write func(*batch) error) (err error) {
	for range attempts {
		var b batch
		if err = write(&b); err == nil {
			err = t.conn.send(&b)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// A target says what a set is to lose and to get, where it has those elements.
type target struct {
	touches func(set string) bool
	of      func(set string, have *elements) (remove, add []element)
	gone    bool // the table is not needed
}

// replacement is the target of a change. What stays is left alone, with what it
// has counted.
func replacement(remove, add *elements) target {
	return target{
		touches: func(set string) bool { return len(remove.sets[set])+len(add.sets[set]) > 0 },
		of: func(set string, have *elements) (removed, added []element) {
			for _, x := range remove.sets[set] {
				had, ok := have.get(set, x.key)
				if _, again := add.get(set, x.key); ok && !again {
					removed = append(removed, had)
				}
			}
			replaced, added := missing(set, have, add)
			return append(removed, replaced...), added
		},
		gone: add.empty(),
	}
}

// exactly is the target of Reconcile.
func exactly(want *elements) target {
	return target{
		touches: func(string) bool { return true },
		of: func(set string, have *elements) (removed, added []element) {
			for _, x := range have.sets[set] {
				if _, ok := want.get(set, x.key); !ok {
					removed = append(removed, x)
				}
			}
			replaced, added := missing(set, have, want)
			return append(removed, replaced...), added
		},
		gone: want.empty(),
	}
}

// missing returns the elements that there are not, and those in their place.
func missing(set string, have, want *elements) (replaced, added []element) {
	for _, x := range want.sets[set] {
		had, ok := have.get(set, x.key)
		if ok && had.data == x.data && had.end == x.end {
			continue
		}
		if ok {
			replaced = append(replaced, had)
		}
		added = append(added, x)
	}
	return replaced, added
}

// settle looks at the table and writes what is left to do. It returns what was
// not as it should be.
func (h *half) settle(c *conn, b *batch, to target) (wrong []string, err error) {
	found, err := c.shape(h.layout, tableName)
	if err != nil {
		return nil, err
	}
	if h.made = found.equal(h.reference); !found.exists && to.gone {
		return nil, nil
	}
	anew := found.exists && !found.compatible(h.reference)
	if !h.made {
		wrong = found.wrong(h.layout, h.reference)
		if anew {
			b.removeTable(h.layout)
		}
		b.addLayout(h.layout, 0)
	}
	for _, s := range h.sets {
		if !anew && !to.touches(s.name) {
			continue
		}
		have := newElements()
		if found.sets[s.name] == h.reference.sets[s.name] {
			if err := c.elements(h.layout, s, have); err != nil {
				return nil, err
			}
		}
		removed, added := to.of(s.name, have)
		wrong = append(wrong, tell(s, removed, added)...)
		if anew {
			added = append(without(have.sets[s.name], removed), added...)
		} else {
			b.removeElements(h.family, s.name, removed)
		}
		b.addElements(h.family, s.name, added)
	}
	return wrong, nil
}

// tell says what was not there, or was too much.
func tell(s set, removed, added []element) (list []string) {
	replaced := map[string]bool{}
	for _, x := range added {
		replaced[x.key] = true
		list = append(list, x.what.String())
	}
	for _, x := range removed {
		if !replaced[x.key] {
			list = append(list, fmt.Sprintf("%s in set %s, which nobody asked for", s.keyText(x), s.name))
		}
	}
	return list
}

func without(list, removed []element) []element {
	gone := map[string]bool{}
	for _, x := range removed {
		gone[x.key] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(x element) bool { return gone[x.key] })
}
