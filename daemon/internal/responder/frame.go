package responder

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A datagram is an IP packet of interest, taken apart.
type datagram struct {
	src, dst         netip.Addr
	protocol         uint8
	hops             uint8  // it may still go
	srcPort, dstPort uint16 // of UDP
	payload          []byte // of UDP, else of IP
}

const (
	header4 = 20 // bytes, without options
	header6 = 40
	udpSize = 8
)

// parse4 reads an IPv4 packet with UDP in it. It does not look at checksums: a
// packet that never left the host has none yet.
func parse4(b []byte) (d datagram, ok bool) {
	if len(b) < header4 || b[0]>>4 != 4 {
		return d, false
	}
	size, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more, or not the first
	if size < header4 || total < size || total > len(b) || fragment != 0 || b[9] != unix.IPPROTO_UDP {
		return d, false
	}
	d = datagram{
		src: netip.AddrFrom4([4]byte(b[12:])), dst: netip.AddrFrom4([4]byte(b[16:])),
		protocol: b[9], hops: b[8], payload: b[size:total],
	}
	return d, d.parseUDP()
}

// parse6 reads an IPv6 packet with UDP or ICMPv6 in it. Neither a DHCPv6 client
// nor a solicitation of a router has extension headers.
func parse6(b []byte) (d datagram, ok bool) {
	if len(b) < header6 || b[0]>>4 != 6 {
		return d, false
	}
	end := header6 + int(binary.BigEndian.Uint16(b[4:]))
	if end > len(b) {
		return d, false
	}
	d = datagram{
		src: netip.AddrFrom16([16]byte(b[8:])), dst: netip.AddrFrom16([16]byte(b[24:])),
		protocol: b[6], hops: b[7], payload: b[header6:end],
	}
	switch d.protocol {
	case unix.IPPROTO_UDP:
		return d, d.parseUDP()
	case unix.IPPROTO_ICMPV6:
		return d, true
	}
	return d, false
}

func (d *datagram) parseUDP() bool {
	u := d.payload
	if len(u) < udpSize {
		return false
	}
	size := int(binary.BigEndian.Uint16(u[4:]))
	if size < udpSize || size > len(u) {
		return false
	}
	d.srcPort, d.dstPort = binary.BigEndian.Uint16(u), binary.BigEndian.Uint16(u[2:])
	d.payload = u[udpSize:size]
	return true
}

// packet returns the IP packet of a datagram. The checksum of an ICMPv6 message
// must be in it.
func (d datagram) packet() []byte {
	var transport []byte
	if d.protocol == unix.IPPROTO_UDP {
		transport = d.udp()
	} else {
		transport = d.payload
	}
	if d.src.Is4() {
		b := make([]byte, header4, header4+len(transport))
		b[0] = 4<<4 | header4/4
		binary.BigEndian.PutUint16(b[2:], uint16(header4+len(transport)))
		b[8], b[9] = d.hops, d.protocol
		src, dst := d.src.As4(), d.dst.As4()
		copy(b[12:], src[:])
		copy(b[16:], dst[:])
		binary.BigEndian.PutUint16(b[10:], ^fold(sum(b, 0)))
		return append(b, transport...)
	}
	b := make([]byte, header6, header6+len(transport))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(transport)))
	b[6], b[7] = d.protocol, d.hops
	src, dst := d.src.As16(), d.dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return append(b, transport...)
}

func (d datagram) udp() []byte {
	u := make([]byte, udpSize, udpSize+len(d.payload))
	binary.BigEndian.PutUint16(u, d.srcPort)
	binary.BigEndian.PutUint16(u[2:], d.dstPort)
	binary.BigEndian.PutUint16(u[4:], uint16(udpSize+len(d.payload)))
	u = append(u, d.payload...)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(len(u))
	check := ^fold(sum(u, sum(d.dst.AsSlice(), sum(d.src.AsSlice(), pseudo))))
	if check == 0 {
		check = 0xffff // as 0 says that there is none
	}
	binary.BigEndian.PutUint16(u[6:], check)
	return u
}

// sum adds the 16-bit words of b to s, for the checksums of IP.
func sum(b []byte, s uint32) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
