package responder

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var (
	datagram4 = datagram{
		src: netip.MustParseAddr("10.213.0.2"), dst: netip.MustParseAddr("10.213.0.1"), protocol: unix.IPPROTO_UDP, hops: 64,
		srcPort: dhcp4ClientPort, dstPort: dhcp4ServerPort, payload: []byte("odd"),
	}
	datagram6 = datagram{
		src: netip.MustParseAddr("fe80::7"), dst: allDHCPServers, protocol: unix.IPPROTO_UDP, hops: 1,
		srcPort: dhcp6ClientPort, dstPort: dhcp6ServerPort, payload: []byte("even"),
	}
	solicitation = datagram{
		src: netip.MustParseAddr("fe80::7"), dst: allRouters, protocol: unix.IPPROTO_ICMPV6, hops: ndHops,
		payload: []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0},
	}
)

func TestPacketsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, d := range []datagram{datagram4, datagram6, solicitation} {
		got, ok := parse(d.packet())
		if !ok || !same(got, d) {
			t.Errorf("%+v became %+v, %v", d, got, ok)
		}
	}
}

func parse(packet []byte) (datagram, bool) {
	if d, ok := parse4(packet); ok {
		return d, true
	}
	return parse6(packet)
}

func same(a, b datagram) bool {
	return a.src == b.src && a.dst == b.dst && a.protocol == b.protocol && a.hops == b.hops &&
		a.srcPort == b.srcPort && a.dstPort == b.dstPort && bytes.Equal(a.payload, b.payload)
}

// The sum of all words of what has a right checksum is all ones. Kernels of
// guests look at that.
func TestChecksums(t *testing.T) {
	t.Parallel()
	for _, d := range []datagram{datagram4, datagram6} {
		packet, size := d.packet(), header6
		if d.src.Is4() {
			size = header4
			if got := fold(sum(packet[:size], 0)); got != 0xffff {
				t.Errorf("the words of an IPv4 header make %#x", got)
			}
		}
		udp := packet[size:]
		pseudo := append(append(d.src.AsSlice(), d.dst.AsSlice()...), 0, 0, 0, unix.IPPROTO_UDP, 0, 0)
		binary.BigEndian.PutUint16(pseudo[len(pseudo)-2:], uint16(len(udp)))
		if got := fold(sum(udp, sum(pseudo, 0))); got != 0xffff {
			t.Errorf("the words of UDP from %v make %#x", d.src, got)
		}
	}
}

// The filter sees packets from their IP header on.
func TestFilters(t *testing.T) {
	t.Parallel()
	changed := func(d datagram, at int, to byte) []byte {
		b := d.packet()
		b[at] = to
		return b
	}
	// With options of IPv4, the ports are further behind.
	options := slices.Insert(datagram4.packet(), header4, make([]byte, 8)...)
	options[0] = 4<<4 | 7
	otherPort := datagram4
	otherPort.dstPort = 53
	for _, test := range []struct {
		name   string
		filter []bpf.Instruction
		packet []byte
		want   int
	}{
		{"DHCPv4", guestFilter, datagram4.packet(), snapLength},
		{"DHCPv4 behind options", guestFilter, options, snapLength},
		{"another port", guestFilter, otherPort.packet(), 0},
		{"the first of fragments", guestFilter, changed(datagram4, 6, 0x20), 0},
		{"a later fragment", guestFilter, changed(datagram4, 7, 1), 0},
		{"one that must not be in fragments", guestFilter, changed(datagram4, 6, 0x40), snapLength},
		{"TCP", guestFilter, changed(datagram4, 9, unix.IPPROTO_TCP), 0},
		{"half a header", guestFilter, datagram4.packet()[:15], 0},
		{"DHCPv6", guestFilter, datagram6.packet(), snapLength},
		{"a solicitation", guestFilter, solicitation.packet(), snapLength},
		{"another message of ICMPv6", guestFilter, changed(solicitation, header6, 128), 0},
		{"another port of IPv6", guestFilter, changed(datagram6, header6+3, 53), 0},
		{"TCP over IPv6", guestFilter, changed(datagram6, 6, unix.IPPROTO_TCP), 0},
		{"ARP", guestFilter, []byte{0, 1, 8, 0, 6, 4, 0, 1}, 0},
		{"anything", deaf, datagram4.packet(), 0},
	} {
		vm, err := bpf.NewVM(test.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := vm.Run(test.packet); err != nil || got != test.want {
			t.Errorf("%s: %d bytes get through, %v; want %d", test.name, got, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, d := range []datagram{datagram4, datagram6, solicitation} {
		f.Add(d.packet())
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		d, ok := parse(packet)
		if !ok {
			return
		}
		if again, ok := parse(d.packet()); !ok || !same(again, d) {
			t.Fatalf("%+v became %+v", d, again)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x0cABCDEFGHIJKL"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		message, err := readMessage(bytes.NewReader(stream), longestQuery)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeMessage(&again, message); err != nil || !bytes.HasPrefix(stream, again.Bytes()) {
			t.Fatalf("%x became %x, %v", stream, again.Bytes(), err)
		}
	})
}
