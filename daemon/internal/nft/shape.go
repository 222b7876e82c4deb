package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A shape is what the kernel tells of a table but for its elements, without what
// differs between two that do the same.
type shape struct {
	exists bool
	flags  uint32
	sets   map[string]string // by name
	chains map[string]string
	rules  map[string][]string // by chain
}

func (s shape) equal(other shape) bool {
	return s.exists == other.exists && s.flags == other.flags && maps.Equal(s.sets, other.sets) &&
		maps.Equal(s.chains, other.chains) && maps.EqualFunc(s.rules, other.rules, slices.Equal)
}

// shape asks for that of the table of that name.
func (c *conn) shape(l layout, table string) (s shape, err error) {
	s = shape{sets: map[string]string{}, chains: map[string]string{}, rules: map[string][]string{}}
	tables, err := c.get(unix.NFT_MSG_GETTABLE, 0, l.family, table, nil)
	if err != nil || len(tables) == 0 {
		return s, err
	}
	s.exists = true
	err = attributes(tables[0], func(kind uint16, value []byte) error {
		if kind == unix.NFTA_TABLE_FLAGS && len(value) == 4 {
			s.flags = binary.BigEndian.Uint32(value)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	for _, part := range []struct {
		kind   uint16
		naming uint16 // the attribute that is the name
		matter []uint16
		take   func(name, definition string)
	}{
		{unix.NFT_MSG_GETSET, unix.NFTA_SET_NAME, setMatters, func(name, definition string) { s.sets[name] = definition }},
		{unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_NAME, chainMatters, func(name, definition string) { s.chains[name] = definition }},
		{unix.NFT_MSG_GETRULE, unix.NFTA_RULE_CHAIN, nil, func(name, definition string) { s.rules[name] = append(s.rules[name], definition) }},
	} {
		list, err := c.get(part.kind, netlink.Dump, l.family, table, nil)
		if err != nil {
			return s, err
		}
		for _, one := range list {
			ours, name, definition, err := describe(one, table, part.naming, part.matter)
			if err != nil {
				return s, err
			}
			if ours {
				part.take(name, definition)
			}
		}
	}
	return s, nil
}

// What makes sets and chains what they are.
var (
	setMatters = []uint16{
		unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_DATA_TYPE, unix.NFTA_SET_DATA_LEN, setExpression,
	}
	chainMatters = []uint16{unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE}
)

// describe returns the name of what data tells of, and of its attributes those
// that matter. It is not ours if it is of another table: not every kernel
// selects those of one. Nothing in matter stands for the expressions of a rule.
func describe(data []byte, table string, naming uint16, matter []uint16) (ours bool, name, definition string, err error) {
	var b bytes.Buffer
	err = attributes(data, func(kind uint16, value []byte) error {
		switch {
		case kind == unix.NFTA_TABLE_NAME:
			ours = text(value) == table
		case kind == naming:
			name = text(value)
		case matter == nil && kind == unix.NFTA_RULE_EXPRESSIONS:
			return describeExpressions(&b, value)
		case slices.Contains(matter, kind):
			b.Write(binary.BigEndian.AppendUint16(nil, kind))
			b.Write(value)
		}
		return nil
	})
	return ours, name, b.String(), err
}

// describeExpressions leaves out what rules have counted.
func describeExpressions(b *bytes.Buffer, data []byte) error {
	return attributes(data, func(_ uint16, one []byte) error {
		var name string
		return attributes(one, func(kind uint16, value []byte) error {
			switch kind {
			case unix.NFTA_EXPR_NAME:
				name = text(value)
				b.WriteString(name + "\x00")
			case unix.NFTA_EXPR_DATA:
				if name != "counter" {
					b.Write(value)
				}
			}
			return nil
		})
	})
}

func text(value []byte) string { return string(bytes.TrimRight(value, "\x00")) }

// compatible tells whether addLayout makes the table as it should be: it adds
// what is missing, but changes and removes nothing, save rules.
func (s shape) compatible(want shape) bool {
	return subset(s.sets, want.sets) && subset(s.chains, want.chains)
}

func subset(some, all map[string]string) bool {
	for name, definition := range some {
		if all[name] != definition {
			return false
		}
	}
	return true
}

// wrong says what is not as it should be.
func (s shape) wrong(l layout, want shape) (list []string) {
	table := fmt.Sprintf("table %s %s", l.name, tableName)
	if !s.exists {
		return []string{table}
	}
	if s.flags != want.flags {
		list = append(list, "flags of "+table)
	}
	for _, name := range differing(s.sets, want.sets) {
		list = append(list, fmt.Sprintf("set %s of %s", name, table))
	}
	for _, name := range differing(s.chains, want.chains) {
		list = append(list, fmt.Sprintf("chain %s of %s", name, table))
	}
	for _, c := range l.chains {
		if s.chains[c.name] == want.chains[c.name] && !slices.Equal(s.rules[c.name], want.rules[c.name]) {
			list = append(list, fmt.Sprintf("rules of chain %s of %s", c.name, table))
		}
	}
	return list
}

// differing returns the names that are not the same in both.
func differing(a, b map[string]string) (names []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		had, inA := a[name]
		want, inB := b[name]
		if inA != inB || had != want {
			names = append(names, name)
		}
	}
	return names
}
