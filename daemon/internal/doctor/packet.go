package doctor

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	hopLimit   = 64
	noHopLimit = 255 // of neighbour discovery, which must not come from afar
)

// A flow is where a packet comes from and where it wants to.
type flow struct {
	protocol uint8 // unix.IPPROTO_TCP or IPPROTO_UDP
	from, to netip.AddrPort
}

// packet returns the IP packet that opens the flow: a SYN, or a datagram. Both
// have mark in them, at the place where the rules of a tracer look for it.
func (f flow) packet(mark uint64) []byte {
	var segment []byte
	segment = binary.BigEndian.AppendUint16(segment, f.from.Port())
	segment = binary.BigEndian.AppendUint16(segment, f.to.Port())
	checksumAt := 16
	if f.protocol == unix.IPPROTO_TCP {
		segment = binary.BigEndian.AppendUint32(segment, uint32(mark)) // sequence number
		segment = append(segment, 0, 0, 0, 0, 6<<4, 2 /* SYN */, 0x20, 0, 0, 0, 0, 0)
		segment = append(segment, 2, 4, 5, 0xb4) // largest segment: 1460
	} else {
		checksumAt = 6
		segment = append(segment, 0, 16, 0, 0)
		segment = binary.BigEndian.AppendUint64(segment, mark)
	}
	return ipPacket(f.protocol, f.from.Addr(), f.to.Addr(), hopLimit, segment, checksumAt)
}

// ipPacket puts the header in front of payload, and the checksum, which covers
// the addresses, into payload at checksumAt; a negative one is none.
func ipPacket(protocol uint8, from, to netip.Addr, ttl uint8, payload []byte, checksumAt int) []byte {
	if checksumAt >= 0 {
		sum := checksum(pseudoSum(protocol, from, to, len(payload)), payload)
		binary.BigEndian.PutUint16(payload[checksumAt:], sum)
	}
	var h []byte
	if from.Is4() {
		h = append(h, 0x45, 0)
		h = binary.BigEndian.AppendUint16(h, uint16(20+len(payload)))
		h = append(h, 0, 1, 0, 0, ttl, protocol, 0, 0)
		h = append(append(h, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(h[10:], checksum(0, h))
		return append(h, payload...)
	}
	h = append(h, 0x60, 0, 0, 0)
	h = binary.BigEndian.AppendUint16(h, uint16(len(payload)))
	h = append(h, protocol, ttl)
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return append(h, payload...)
}

func pseudoSum(protocol uint8, from, to netip.Addr, length int) (sum uint32) {
	for _, a := range [][]byte{from.AsSlice(), to.AsSlice()} {
		sum = addWords(sum, a)
	}
	return sum + uint32(protocol) + uint32(length)
}

func addWords(sum uint32, data []byte) uint32 {
	for ; len(data) >= 2; data = data[2:] {
		sum += uint32(binary.BigEndian.Uint16(data))
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	return sum
}

// checksum is that of the Internet, which sum is the beginning of.
func checksum(sum uint32, data []byte) uint16 {
	sum = addWords(sum, data)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// frame puts an Ethernet header in front of payload.
func frame(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

// etherType returns the kind of frame that packets of the address's family are in.
func etherType(addr netip.Addr) uint16 {
	if addr.Is4() {
		return unix.ETH_P_IP
	}
	return unix.ETH_P_IPV6
}

// flowOf reads addresses and ports of the beginning of a packet.
func flowOf(network, transport []byte) (f flow, ok bool) {
	if len(network) < 20 || len(transport) < 4 {
		return flow{}, false
	}
	var from, to []byte
	switch {
	case network[0]>>4 == 4:
		f.protocol, from, to = network[9], network[12:16], network[16:20]
	case network[0]>>4 == 6 && len(network) >= 40:
		f.protocol, from, to = network[6], network[8:24], network[24:40]
	default:
		return flow{}, false
	}
	source, _ := netip.AddrFromSlice(from)
	target, _ := netip.AddrFromSlice(to)
	f.from = netip.AddrPortFrom(source, binary.BigEndian.Uint16(transport))
	f.to = netip.AddrPortFrom(target, binary.BigEndian.Uint16(transport[2:]))
	return f, true
}
