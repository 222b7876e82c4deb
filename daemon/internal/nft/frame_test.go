package nft_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A frame is what somebody puts on the wire who keeps to no rules.
type frame []byte

func ethernet(to, from net.HardwareAddr, kind uint16, payload []byte) frame {
	f := append(append(frame{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

func arp(operation uint16, sender net.HardwareAddr, senderIP string, target net.HardwareAddr, targetIP string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, byte(operation >> 8), byte(operation)}
	b = append(append(b, sender...), netip.MustParseAddr(senderIP).AsSlice()...)
	return append(append(b, target...), netip.MustParseAddr(targetIP).AsSlice()...)
}

// udp is a packet of either family.
func udp(from, to string, payload string) []byte {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	b := binary.BigEndian.AppendUint16(nil, source.Port())
	b = binary.BigEndian.AppendUint16(b, destination.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	return packet(source.Addr(), destination.Addr(), unix.IPPROTO_UDP, b, 6)
}

// reset is a packet of TCP that belongs to no connection.
func reset(from, to string) []byte {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	b := binary.BigEndian.AppendUint16(nil, source.Port())
	b = binary.BigEndian.AppendUint16(b, destination.Port())
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 1, 5<<4, 1<<2, 0, 0, 0, 0, 0, 0)
	return packet(source.Addr(), destination.Addr(), unix.IPPROTO_TCP, b, 16)
}

// icmp6 is a packet that begins with that type, and has that target.
func icmp6(from, to string, kind byte, target string) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	b = append(b, netip.MustParseAddr(target).AsSlice()...)
	return packet(netip.MustParseAddr(from), netip.MustParseAddr(to), unix.IPPROTO_ICMPV6, b, 2)
}

// packet puts the header of IP before the payload, whose checksum is at sum.
func packet(from, to netip.Addr, protocol byte, payload []byte, sum int) []byte {
	pseudo := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	pseudo = append(pseudo, 0, protocol, byte(len(payload)>>8), byte(len(payload)))
	binary.BigEndian.PutUint16(payload[sum:], checksum(append(pseudo, payload...)))
	if from.Is4() {
		header := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(payload)))
		header = append(append(header, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		return append(header, payload...)
	}
	header := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), protocol, 255}
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	return append(header, payload...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b)-1; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A wire is the link of a space, without anything of the kernel between.
type wire struct {
	tb    testing.TB
	fd    int
	index int
	mac   net.HardwareAddr
}

func (s space) wire(tb testing.TB, link string) wire {
	tb.Helper()
	l := s.link(tb, link).Attrs()
	w := wire{tb: tb, index: l.Index, mac: l.HardwareAddr}
	s.do(tb, func() {
		var err error
		all := int(htons(unix.ETH_P_ALL))
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			tb.Error(err)
			return
		}
		tb.Cleanup(func() { unix.Close(w.fd) })
		if err := unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: w.index}); err != nil {
			tb.Error(err)
		}
	})
	if tb.Failed() {
		tb.FailNow()
	}
	return w
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func (w wire) send(f frame) {
	w.tb.Helper()
	if err := unix.Sendto(w.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: w.index}); err != nil {
		w.tb.Fatal(err)
	}
}

// next returns what arrives next, without what the space itself sends. It
// returns nil if nothing does.
func (w wire) next(patience time.Duration) frame {
	w.tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		poll := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(left.Milliseconds())+1); n == 0 || err == unix.EINTR {
			continue
		} else if err != nil {
			w.tb.Fatal(err)
		}
		buffer := make([]byte, 2048)
		n, from, err := unix.Recvfrom(w.fd, buffer, 0)
		if err != nil {
			w.tb.Fatal(err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return buffer[:n]
		}
	}
}
