package responder

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

var toServers4 = &net.UDPAddr{IP: net.IPv4bcast, Port: dhcp4ServerPort}

func ask4(tb testing.TB, kind dhcpv4.MessageType, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	tb.Helper()
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(guestMAC), dhcpv4.WithMessageType(kind),
	}, modifiers...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// toServer4 is the packet of a client without an address.
func toServer4(message []byte) []byte {
	return datagram{
		src: netip.IPv4Unspecified(), dst: netip.MustParseAddr("255.255.255.255"), protocol: unix.IPPROTO_UDP, hops: 64,
		srcPort: dhcp4ClientPort, dstPort: dhcp4ServerPort, payload: message,
	}.packet()
}

// A lease4 is what a client reads in an answer.
type lease4 struct {
	Kind            dhcpv4.MessageType
	Address, Server netip.Addr
	Bits            int
	Router, DNS     string
	Lease           time.Duration
	MTU             uint16
	Hostname        string
}

func leaseOf(tb testing.TB, b []byte) lease4 {
	tb.Helper()
	a, err := dhcpv4.FromBytes(b)
	if err != nil {
		tb.Fatalf("cannot read the answer: %v", err)
	}
	l := lease4{Kind: a.MessageType(), Lease: a.IPAddressLeaseTime(0), Hostname: a.HostName()}
	l.Address, _ = netip.AddrFromSlice(a.YourIPAddr.To4())
	l.Server, _ = netip.AddrFromSlice(a.ServerIdentifier())
	l.Bits, _ = a.SubnetMask().Size()
	if r := a.Router(); len(r) == 1 {
		l.Router = r[0].String()
	}
	if d := a.DNS(); len(d) == 1 {
		l.DNS = d[0].String()
	}
	if mtu := a.Options.Get(dhcpv4.OptionInterfaceMTU); len(mtu) == 2 {
		l.MTU = binary.BigEndian.Uint16(mtu)
	}
	return l
}

func wantLease(kind dhcpv4.MessageType) lease4 {
	return lease4{
		Kind: kind, Address: guest4, Server: gateway4.Addr(), Bits: 30, Router: "10.213.0.1", DNS: "10.213.0.1",
		Lease: infinite, MTU: 1400, Hostname: "c1",
	}
}

func TestGuestGetsItsAddressOverDHCPv4(t *testing.T) {
	l := newLab(t)
	l.start()
	conn := l.guestUDP("udp4", ":68")

	offer := leaseOf(t, l.exchange(conn, ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4))
	if diff := cmp.Diff(wantLease(dhcpv4.MessageTypeOffer), offer, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	request := ask4(t, dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.Address.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.Server.AsSlice())))
	ack := leaseOf(t, l.exchange(conn, request.ToBytes(), toServers4))
	if diff := cmp.Diff(wantLease(dhcpv4.MessageTypeAck), ack, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("acknowledgement (-want +got):\n%s", diff)
	}
}

func sameAddr(a, b netip.Addr) bool { return a == b }

// A client that renews speaks from its address to the server's.
func TestGuestRenewsItsAddress(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.start()
	conn := l.guestUDP("udp4", "10.213.0.2:68")
	request := ask4(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(guest4.AsSlice()))
	got := leaseOf(t, l.exchange(conn, request.ToBytes(), &net.UDPAddr{IP: gateway4.Addr().AsSlice(), Port: dhcp4ServerPort}))
	if diff := cmp.Diff(wantLease(dhcpv4.MessageTypeAck), got, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnswersOfDHCPv4(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	address := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
	}
	server := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
	}
	ack, informed := wantLease(dhcpv4.MessageTypeAck), wantLease(dhcpv4.MessageTypeAck)
	informed.Address, informed.Lease = netip.IPv4Unspecified(), 0
	nak := lease4{Kind: dhcpv4.MessageTypeNak, Address: netip.IPv4Unspecified(), Server: gateway4.Addr()}
	for _, test := range []struct {
		name string
		q    *dhcpv4.DHCPv4
		want lease4 // the zero lease4: no answer
	}{
		{"the address after a restart of the client", ask4(t, dhcpv4.MessageTypeRequest, address("10.213.0.2")), ack},
		{"another address", ask4(t, dhcpv4.MessageTypeRequest, address("10.213.0.3")), nak},
		{"the address of another network", ask4(t, dhcpv4.MessageTypeRequest, address("192.168.1.7")), nak},
		{"another address that it has", ask4(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IPv4(10, 9, 9, 9))), nak},
		{"no address", ask4(t, dhcpv4.MessageTypeRequest), lease4{}},
		{"the offer of another server", ask4(t, dhcpv4.MessageTypeRequest, address("10.213.0.2"), server("10.213.0.9")), lease4{}},
		{"in one step", ask4(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))), ack},
		{"all but the address", ask4(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(guest4.AsSlice())), informed},
		{"all but the address, without one", ask4(t, dhcpv4.MessageTypeInform), lease4{}},
		{"over a relay", ask4(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithRelay(net.IPv4(10, 1, 1, 1))), lease4{}},
		{"a release", ask4(t, dhcpv4.MessageTypeRelease), lease4{}},
		{"an answer", ask4(t, dhcpv4.MessageTypeOffer), lease4{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			packet := toServer4(test.q.ToBytes())
			var got lease4
			if answer, _, ok := cfg.handle4(packet, guestMAC); ok {
				d, ok := parse4(answer)
				if !ok {
					t.Fatalf("the answer is no packet: %x", answer)
				}
				got = leaseOf(t, d.payload)
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(sameAddr)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStrangersGetNoAnswerOverDHCPv4(t *testing.T) {
	l := newLab(t)
	l.start()
	conn := l.guestUDP("udp4", ":68")
	stranger := ask4(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9}))
	l.silent(conn, stranger.ToBytes(), toServers4)
	l.exchange(conn, ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)
}

// Only who asked hears the answer, unless it cannot hear anything else.
func TestAnswerGoesToWhoAsked(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	for _, test := range []struct {
		name string
		q    *dhcpv4.DHCPv4
		mac  net.HardwareAddr
		addr string
	}{
		{"without an address", ask4(t, dhcpv4.MessageTypeDiscover), guestMAC, "255.255.255.255"},
		{"deaf to frames of its own", ask4(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), broadcastMAC, "255.255.255.255"},
		{"with an address", ask4(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(guest4.AsSlice())), guestMAC, "10.213.0.2"},
		{"refused", ask4(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IPv4(10, 9, 9, 9))), broadcastMAC, "255.255.255.255"},
	} {
		packet := toServer4(test.q.ToBytes())
		answer, mac, ok := cfg.handle4(packet, guestMAC)
		if !ok {
			t.Errorf("%s: no answer", test.name)
			continue
		}
		d, _ := parse4(answer)
		if mac.String() != test.mac.String() || d.dst.String() != test.addr || len(d.payload) < dhcp4Smallest {
			t.Errorf("%s: %d bytes to %v, %v; want %d or more to %v, %s", test.name, len(d.payload), mac, d.dst, dhcp4Smallest, test.mac, test.addr)
		}
	}
}

func FuzzHandleDHCPv4(f *testing.F) {
	cfg := testConfig()
	for _, q := range []*dhcpv4.DHCPv4{
		ask4(f, dhcpv4.MessageTypeDiscover),
		ask4(f, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(guest4.AsSlice()))),
		ask4(f, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(guest4.AsSlice())),
	} {
		f.Add(q.ToBytes())
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		answer, _, ok := cfg.handle4(toServer4(message), guestMAC)
		if !ok {
			return
		}
		d, ok := parse4(answer)
		if !ok {
			t.Fatalf("the answer is no packet: %x", answer)
		}
		a, err := dhcpv4.FromBytes(d.payload)
		if err != nil {
			t.Fatalf("the answer is no message: %v", err)
		}
		if got, _ := netip.AddrFromSlice(a.YourIPAddr.To4()); got != guest4 && !got.IsUnspecified() {
			t.Fatalf("it gives away %v", got)
		}
	})
}
