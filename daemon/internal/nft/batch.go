package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A batch is what the kernel does as a whole or not at all.
type batch struct {
	table    string // that it is about; "" is tableName
	messages []netlink.Message
	err      error
}

// maxElements of one message. Their attributes lie in one of 64 KiB, and what is
// over that would be lost.
const maxElements = 400

func (b *batch) add(kind uint16, flags netlink.HeaderFlags, family nftables.TableFamily, fill func(*netlink.AttributeEncoder)) {
	encoder := netlink.NewAttributeEncoder()
	encoder.ByteOrder = binary.BigEndian
	encoder.String(unix.NFTA_TABLE_NAME, cmp.Or(b.table, tableName)) // the first attribute of all that there is
	if fill != nil {
		fill(encoder)
	}
	data, err := encoder.Encode()
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("cannot encode a message for nftables: %w", err)
	}
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: messageType(kind), Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(generic(byte(family), 0), data...),
	})
}

func messageType(kind uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind)
}

// generic is the header that all messages of netfilter begin with.
func generic(family byte, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}

// policyAccept is NF_ACCEPT.
const policyAccept = 1

func (b *batch) addTable(l layout, flags uint32) {
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, l.family, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

// removeTable removes it whether it is there or not.
func (b *batch) removeTable(l layout) {
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create, l.family, nil)
	b.add(unix.NFT_MSG_DELTABLE, 0, l.family, nil)
}

// addLayout makes what is not there of the table, and all rules anew.
func (b *batch) addLayout(l layout, flags uint32) {
	b.addTable(l, flags)
	for i, s := range l.sets {
		b.addSet(l.family, s, uint32(i+1))
	}
	for _, c := range l.chains {
		b.addChain(l.family, c)
	}
	for _, c := range l.chains {
		b.flushChain(l.family, c.name)
	}
	for _, c := range l.chains {
		for _, r := range c.rules {
			b.addRule(l, c, r)
		}
	}
}

func (b *batch) addSet(family nftables.TableFamily, s set, id uint32) {
	var flags uint32
	if s.data != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.fielded() {
		flags |= nftables.NFT_SET_CONCAT
	}
	b.add(unix.NFT_MSG_NEWSET, netlink.Create, family, func(e *netlink.AttributeEncoder) {
		key := nftables.MustConcatSetType(s.key...)
		e.String(unix.NFTA_SET_NAME, s.name)
		e.Uint32(unix.NFTA_SET_FLAGS, flags)
		e.Uint32(unix.NFTA_SET_KEY_TYPE, key.GetNFTMagic())
		e.Uint32(unix.NFTA_SET_KEY_LEN, key.Bytes)
		e.Uint32(unix.NFTA_SET_ID, id)
		if s.data != nil {
			data := nftables.MustConcatSetType(s.data...)
			e.Uint32(unix.NFTA_SET_DATA_TYPE, data.GetNFTMagic())
			e.Uint32(unix.NFTA_SET_DATA_LEN, data.Bytes)
		}
		if s.fielded() {
			e.Nested(unix.NFTA_SET_DESC, func(e *netlink.AttributeEncoder) error {
				e.Nested(nftables.NFTA_SET_DESC_CONCAT, describeKey(s.key))
				return nil
			})
		}
		if s.counter {
			e.Nested(setExpression, func(e *netlink.AttributeEncoder) error {
				e.String(unix.NFTA_EXPR_NAME, "counter")
				e.Nested(unix.NFTA_EXPR_DATA, func(*netlink.AttributeEncoder) error { return nil })
				return nil
			})
		}
		e.Bytes(unix.NFTA_SET_USERDATA, byteOrder(s))
	})
}

// fielded tells whether the kernel must know the fields of a key. It is told as
// much as nft would tell it, so that a table that was given back by nft is the
// same.
func (s set) fielded() bool { return len(s.key) > 1 && s.interval }

// setExpression is NFTA_SET_EXPR of enum nft_set_attributes.
const setExpression = 17

func describeKey(key []nftables.SetDatatype) func(*netlink.AttributeEncoder) error {
	return func(e *netlink.AttributeEncoder) error {
		for _, t := range key {
			e.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
				e.Uint32(1, t.Bytes) // NFTA_SET_FIELD_LEN
				return nil
			})
		}
		return nil
	}
}

// byteOrder tells nft how to show the keys: a name is in the host's order, or it
// is shown as none. The kernel keeps it only.
func byteOrder(s set) []byte {
	const keyByteOrder, host, network = 0, 1, 2 // NFTNL_UDATA_SET_KEYBYTEORDER, enum byteorder
	order := uint32(network)
	if len(s.key) == 1 && s.key[0].Name == ifname.Name {
		order = host
	}
	return append([]byte{keyByteOrder, 4}, binary.NativeEndian.AppendUint32(nil, order)...)
}

func (b *batch) addChain(family nftables.TableFamily, c chain) {
	b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, family, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_CHAIN_NAME, c.name)
		if c.hook == "" {
			return
		}
		e.Nested(unix.NFTA_CHAIN_HOOK, func(e *netlink.AttributeEncoder) error {
			e.Uint32(unix.NFTA_HOOK_HOOKNUM, c.number)
			e.Int32(unix.NFTA_HOOK_PRIORITY, c.priority)
			return nil
		})
		e.Uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
		e.String(unix.NFTA_CHAIN_TYPE, c.kind)
	})
}

func (b *batch) flushChain(family nftables.TableFamily, name string) {
	b.add(unix.NFT_MSG_DELRULE, 0, family, func(e *netlink.AttributeEncoder) { e.String(unix.NFTA_RULE_CHAIN, name) })
}

func (b *batch) addRule(l layout, c chain, rule []term) {
	b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, l.family, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_RULE_CHAIN, c.name)
		e.Nested(unix.NFTA_RULE_EXPRESSIONS, func(e *netlink.AttributeEncoder) error {
			for _, x := range l.expressions(rule) {
				data, err := marshal(l.family, x)
				if err != nil {
					return err
				}
				e.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
			}
			return nil
		})
	})
}

func marshal(family nftables.TableFamily, x expression) ([]byte, error) {
	switch x := x.(type) {
	case expr.Any:
		return expr.Marshal(byte(family), x)
	case originalTuple:
		return x.marshal()
	}
	return nil, fmt.Errorf("%T is no expression", x)
}

func (o originalTuple) marshal() ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	e.ByteOrder = binary.BigEndian
	e.String(unix.NFTA_EXPR_NAME, "ct")
	e.Nested(unix.NFTA_EXPR_DATA, func(e *netlink.AttributeEncoder) error {
		e.Uint32(unix.NFTA_CT_DREG, o.register)
		e.Uint32(unix.NFTA_CT_KEY, uint32(o.key))
		e.Uint8(unix.NFTA_CT_DIRECTION, 0) // IP_CT_DIR_ORIGINAL
		return nil
	})
	return e.Encode()
}

// addElements adds elements to a set, or removes them.
func (b *batch) addElements(family nftables.TableFamily, set string, list []element) {
	b.elements(unix.NFT_MSG_NEWSETELEM, netlink.Create, family, set, list)
}

func (b *batch) removeElements(family nftables.TableFamily, set string, list []element) {
	b.elements(unix.NFT_MSG_DELSETELEM, 0, family, set, list)
}

func (b *batch) elements(kind uint16, flags netlink.HeaderFlags, family nftables.TableFamily, set string, list []element) {
	for len(list) > 0 {
		part := list[:min(maxElements, len(list))]
		list = list[len(part):]
		b.add(kind, flags, family, func(e *netlink.AttributeEncoder) {
			e.String(unix.NFTA_SET_ELEM_LIST_SET, set)
			e.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(e *netlink.AttributeEncoder) error {
				for _, x := range part {
					e.Nested(unix.NFTA_LIST_ELEM, x.encode)
				}
				return nil
			})
		})
	}
}

func (x element) encode(e *netlink.AttributeEncoder) error {
	value := func(kind uint16, data string) {
		if data != "" {
			e.Nested(kind, func(e *netlink.AttributeEncoder) error {
				e.Bytes(unix.NFTA_DATA_VALUE, []byte(data))
				return nil
			})
		}
	}
	value(unix.NFTA_SET_ELEM_KEY, x.key)
	value(nftables.NFTA_SET_ELEM_KEY_END, x.end)
	value(unix.NFTA_SET_ELEM_DATA, x.data)
	if x.counted != (Counter{}) {
		e.Nested(unix.NFTA_SET_ELEM_EXPR, func(e *netlink.AttributeEncoder) error {
			e.String(unix.NFTA_EXPR_NAME, "counter")
			e.Nested(unix.NFTA_EXPR_DATA, func(e *netlink.AttributeEncoder) error {
				e.Uint64(unix.NFTA_COUNTER_BYTES, x.counted.Bytes)
				e.Uint64(unix.NFTA_COUNTER_PACKETS, x.counted.Packets)
				return nil
			})
			return nil
		})
	}
	return nil
}
