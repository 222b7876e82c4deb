package nft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// elements adds to list what the kernel has in the set.
func (c *conn) elements(l layout, s set, list *elements) error {
	answers, err := c.get(unix.NFT_MSG_GETSETELEM, netlink.Dump, l.family, tableName, func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	})
	if err != nil {
		return err
	}
	for _, data := range answers {
		err := attributes(data, func(kind uint16, value []byte) error {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return attributes(value, func(_ uint16, one []byte) error {
				x, err := decode(one)
				if err != nil {
					return err
				}
				return list.insert(s.name, x)
			})
		})
		if err != nil {
			return fmt.Errorf("cannot read set %s: %w", s.name, err)
		}
	}
	return nil
}

func decode(data []byte) (x element, err error) {
	err = attributes(data, func(kind uint16, value []byte) (err error) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			x.key, err = decodeValue(value)
		case nftables.NFTA_SET_ELEM_KEY_END:
			x.end, err = decodeValue(value)
		case unix.NFTA_SET_ELEM_DATA:
			x.data, err = decodeValue(value)
		case unix.NFTA_SET_ELEM_EXPR:
			x.counted, err = decodeCounter(value)
		}
		return err
	})
	return x, err
}

func decodeValue(data []byte) (value string, err error) {
	err = attributes(data, func(kind uint16, bytes []byte) error {
		if kind == unix.NFTA_DATA_VALUE {
			value = string(bytes)
		}
		return nil
	})
	return value, err
}

func decodeCounter(data []byte) (c Counter, err error) {
	err = attributes(data, func(kind uint16, value []byte) error {
		if kind != unix.NFTA_EXPR_DATA {
			return nil
		}
		return attributes(value, func(kind uint16, value []byte) error {
			switch {
			case len(value) != 8:
			case kind == unix.NFTA_COUNTER_BYTES:
				c.Bytes = binary.BigEndian.Uint64(value)
			case kind == unix.NFTA_COUNTER_PACKETS:
				c.Packets = binary.BigEndian.Uint64(value)
			}
			return nil
		})
	})
	return c, err
}

// cut cuts a key, or data, into its fields.
func cut(types []nftables.SetDatatype, key string) (list []string) {
	for _, t := range types {
		size := int(t.Bytes)
		if len(key) < size {
			return nil
		}
		list = append(list, key[:size])
		key = key[min(len(key), int(words(t.Bytes))*4):]
	}
	return list
}

// keyText and dataText are what nft writes for an element.

func (s set) keyText(x element) string {
	list := texts(s.key, x.key)
	if end := cut(s.key, x.end); len(end) > 0 && len(list) == len(end) {
		first, last := cut(s.key, x.key)[len(end)-1], end[len(end)-1]
		list[len(end)-1] += networkLength(first, last)
	}
	return strings.Join(list, " . ")
}

func (s set) dataText(x element) string { return strings.Join(texts(s.data, x.data), " . ") }

// networkLength returns the length of the network from one address to another.
func networkLength(first, last string) string {
	length := 0
	for i := range first {
		same := bits.LeadingZeros8(first[i] ^ last[i])
		length += same
		if same < 8 {
			break
		}
	}
	if length == 8*len(first) {
		return ""
	}
	return fmt.Sprintf("/%d", length)
}

func texts(types []nftables.SetDatatype, key string) (list []string) {
	for i, f := range cut(types, key) {
		switch types[i].Name {
		case ifname.Name:
			f = `"` + text([]byte(f)) + `"`
		case address4.Name, address6.Name:
			a, _ := netip.AddrFromSlice([]byte(f))
			f = a.String()
		case ether.Name:
			f = net.HardwareAddr(f).String()
		case protocol.Name:
			f = protocolName(f[0])
		case service.Name:
			f = fmt.Sprint(binary.BigEndian.Uint16([]byte(f)))
		}
		list = append(list, f)
	}
	return list
}
