package network

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// A pool is a network that links get their own small one of.
type pool struct {
	whole netip.Prefix
	bits  int // of each link's network
}

// pools4 are tried in order: the first that the host is not part of. All are of
// the private ranges, and none is another program's habit. A link between two
// needs four addresses, a zone a network of its own.
var (
	pools4 = []pool{
		{netip.MustParsePrefix("10.213.0.0/16"), 30},
		{netip.MustParsePrefix("172.29.0.0/16"), 30},
		{netip.MustParsePrefix("192.168.213.0/24"), 30},
	}
	zonePools4 = []pool{
		{netip.MustParsePrefix("10.214.0.0/16"), 24},
		{netip.MustParsePrefix("172.28.0.0/16"), 24},
		{netip.MustParsePrefix("192.168.214.0/24"), 27},
	}
)

// size is how many links the pool has networks for.
func (p pool) size() int { return 1 << (p.bits - p.whole.Bits()) }

// slot returns the network that a link called name has by nature.
func (p pool) slot(name string) int { return int(hash(name) % uint64(p.size())) }

// prefix returns the network of a slot.
func (p pool) prefix(slot int) netip.Prefix {
	first := binary.BigEndian.Uint32(p.whole.Addr().AsSlice())
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], first+uint32(slot)<<(32-p.bits))
	return netip.PrefixFrom(netip.AddrFrom4(raw), p.bits)
}

// hash spreads names evenly, and will do so for ever: addresses hang on it.
func hash(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:])
}

// nth returns an address of a network, counted from its own.
func nth(p netip.Prefix, n uint32) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	last := raw[len(raw)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)+n)
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// A space is what links get their networks of: a pool, or the IPv6 networks of
// this host.
type space interface {
	size() int
	slot(name string) int
	prefix(slot int) netip.Prefix
}

// A site is a half of the host's own /48, which has a /64 for each link. Zones
// have the other half.
type site struct {
	whole netip.Prefix
	zones bool
}

const siteLinks = 1 << 15

func (s site) size() int            { return siteLinks }
func (s site) slot(name string) int { return int(hash(name) % siteLinks) }

func (s site) prefix(slot int) netip.Prefix {
	if s.zones {
		slot += siteLinks
	}
	raw := s.whole.Addr().As16()
	binary.BigEndian.PutUint16(raw[6:8], uint16(slot))
	return netip.PrefixFrom(netip.AddrFrom16(raw), 64)
}

// uniqueLocal returns the /48 of this host, below fd00::/8, from its machine ID.
//
// Reference: RFC 4193, 3.2.2; the ID stands for what is hashed there.
func uniqueLocal(machineID string) netip.Prefix {
	sum := sha256.Sum256([]byte("machd network " + machineID))
	var raw [16]byte
	raw[0] = 0xfd
	copy(raw[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(raw), 48)
}
