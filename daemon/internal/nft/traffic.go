package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Counter of what went through a port, both ways, since it was added.
type Counter struct {
	Packets, Bytes uint64
}

// Traffic returns what every port has counted.
func (t *Table) Traffic() (map[Key]Counter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	traffic := map[Key]Counter{}
	for _, s := range t.inet.sets {
		if !s.counter {
			continue
		}
		have := newElements()
		if err := t.conn.elements(t.inet.layout, s, have); err != nil {
			return nil, fmt.Errorf("cannot read the counters of ports: %w", err)
		}
		for _, x := range have.sets[s.name] {
			traffic[s.portKey(x.key)] = x.counted
		}
	}
	return traffic, nil
}

// portKey returns the Key that an element of a set that counts stands for.
func (s set) portKey(key string) (k Key) {
	addr, port := netip.IPv4Unspecified(), uint16(0)
	if s.name == "traffic6" {
		addr = netip.IPv6Unspecified()
	}
	for i, f := range cut(s.key, key) {
		switch s.key[i].Name {
		case ifname.Name:
			k.Link = text([]byte(f))
		case address4.Name, address6.Name:
			addr, _ = netip.AddrFromSlice([]byte(f))
		case protocol.Name:
			k.Protocol = f[0]
		case service.Name:
			port = binary.BigEndian.Uint16([]byte(f))
		}
	}
	k.At = netip.AddrPortFrom(addr, port)
	return k
}
