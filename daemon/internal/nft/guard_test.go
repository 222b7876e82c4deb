package nft_test

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// late is how much later than what was sent after it a packet may arrive: they may
// go by different processors.
const late = 50 * time.Millisecond

// hears returns a function that tells whether anything arrives at a UDP socket at
// the address but what is sent by mark.
func (s space) hears(t *testing.T, address string) func(send, mark func()) bool {
	t.Helper()
	var c net.PacketConn
	s.do(t, func() {
		var err error
		if c, err = net.ListenPacket("udp", address); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return func(send, mark func()) (heard bool) {
		t.Helper()
		send()
		mark()
		buffer := make([]byte, 64)
		c.SetDeadline(time.Now().Add(soon))
		for marked := false; ; {
			n, _, err := c.ReadFrom(buffer)
			switch {
			case err != nil && marked:
				return heard
			case err != nil:
				t.Fatalf("%s hears nothing at all: %v", address, err)
			case string(buffer[:n]) == "mark":
				marked = true
				c.SetDeadline(time.Now().Add(late))
			default:
				heard = true
			}
		}
	}
}

// tell sends a packet to the address from within the space.
func (s space) tell(t *testing.T, address, text string) {
	t.Helper()
	s.do(t, func() {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Error(err)
		}
	})
}

// A machine writes frames of its own to the host's loopback services, which are
// open to it by the switch that lets ports answer on 127.0.0.1.
func TestLoopbackOfTheHostIsOutOfReach(t *testing.T) {
	w := newWorld(t)
	hears := w.host.hears(t, "127.0.0.1:99")
	mark := func() { w.host.tell(t, "127.0.0.1:99", "mark") }
	attacker := w.a.wire(t, "host0")
	mac := w.host.link(t, "ve-a").Attrs().HardwareAddr
	attack := func() {
		for _, source := range []string{"10.213.0.2:4000", "127.0.0.1:4000", "127.0.0.2:4000"} {
			for _, destination := range []string{"127.0.0.1:99", "127.5.5.5:99"} {
				attacker.send(ethernet(mac, attacker.mac, unix.ETH_P_IP, udp(source, destination, "attack")))
			}
		}
	}
	if hears(attack, mark) {
		t.Error("a machine reaches a service on the host's loopback")
	}
	w.change(nft.Rules{Links: []nft.Link{w.linkA()}}, nft.Rules{})
	if !hears(attack, mark) {
		t.Error("the attack does not work without the guard either, so this shows nothing")
	}
}

// A service on ::1 is asked by frames from a machine, with the route there that
// answers to ::1 need.
func TestLoopback6OfTheHostIsOutOfReach(t *testing.T) {
	w := newWorld(t)
	hears := w.host.hears(t, "[::]:99")
	attacker := w.a.wire(t, "host0")
	mac := w.host.link(t, "ve-a").Attrs().HardwareAddr
	attack := func(destination string) func() {
		return func() {
			for _, source := range []string{"[fd00:a::2]:4000", "[::1]:4000", "[fe80::1]:4000"} {
				attacker.send(ethernet(mac, attacker.mac, unix.ETH_P_IPV6, udp(source, destination, "attack")))
			}
		}
	}
	mark := func() { w.host.tell(t, "[::1]:99", "mark") }
	if hears(attack("[::1]:99"), mark) {
		t.Error("a machine reaches a service on the host's loopback")
	}
	if !hears(attack("[fd00:a::1]:99"), mark) {
		t.Error("the frames are no good, so this shows nothing")
	}
}

// A neighbour of the host asks for its loopback, where a port is published.
func TestPortOfLoopbackIsNotForNeighbours(t *testing.T) {
	w := newWorld(t)
	w.change(nft.Rules{}, nft.Rules{Ports: []nft.Port{
		port(unix.IPPROTO_UDP, "127.0.0.1", 99, "10.213.0.2:99"), port(unix.IPPROTO_UDP, "", 98, "10.213.0.2:99"),
	}})
	hears := w.a.hears(t, "10.213.0.2:99")
	mac := w.host.link(t, "up0").Attrs().HardwareAddr
	neighbour := w.outside.wire(t, "host0")
	attack := func() {
		for _, destination := range []string{"127.0.0.1:99", "127.0.0.1:98", "127.1.1.1:98"} {
			neighbour.send(ethernet(mac, neighbour.mac, unix.ETH_P_IP, udp("192.0.2.2:4000", destination, "attack")))
		}
	}
	if hears(attack, func() { w.host.tell(t, "127.0.0.1:99", "mark") }) {
		t.Error("a port of 127.0.0.1 is open to a neighbour")
	}
	if !hears(func() {
		neighbour.send(ethernet(mac, neighbour.mac, unix.ETH_P_IP, udp("192.0.2.2:4000", "192.0.2.1:98", "client")))
	}, func() { w.host.tell(t, "127.0.0.1:99", "mark") }) {
		t.Error("frames of the neighbour are no good, so this shows nothing")
	}
}

func TestForeignSourcesAreDropped(t *testing.T) {
	w := newWorld(t)
	hears4, hears6 := w.host.hears(t, "10.213.0.1:99"), w.host.hears(t, "[fd00:a::1]:99")
	attacker := w.a.wire(t, "host0")
	mac := w.host.link(t, "ve-a").Attrs().HardwareAddr
	send := func(kind uint16, source, destination, text string) {
		attacker.send(ethernet(mac, attacker.mac, kind, udp(source, destination, text)))
	}
	for _, tt := range []struct {
		source string
		want   bool
	}{
		{"10.213.0.2:4000", true},
		{"10.213.0.6:4000", false}, // of the other machine
		{"10.213.0.1:4000", false}, // of the host
		{"192.0.2.2:4000", false},
		{"0.0.0.0:4000", false},
		{"[fd00:a::2]:4000", true},
		{"[fe80::1234]:4000", true},
		{"[fd00:a::3]:4000", false},
		{"[fd00:b::2]:4000", false},
		{"[2001:db8:1::2]:4000", false},
		{"[::]:4000", false},
	} {
		hears, kind, to, own := hears4, uint16(unix.ETH_P_IP), "10.213.0.1:99", "10.213.0.2:4001"
		if strings.HasPrefix(tt.source, "[") {
			hears, kind, to, own = hears6, unix.ETH_P_IPV6, "[fd00:a::1]:99", "[fd00:a::2]:4001"
		}
		got := hears(func() { send(kind, tt.source, to, "?") }, func() { send(kind, own, to, "mark") })
		if got != tt.want {
			t.Errorf("from %s: heard %t, want %t", tt.source, got, tt.want)
		}
	}
	if drops := w.dropped(t, "guard"); strings.HasSuffix(drops, "counter packets 0 bytes 0 drop\n") {
		t.Errorf("what was dropped does not count:\n%s", drops)
	}
	// What rules have counted is no damage.
	if mended, err := w.table.Reconcile(nft.Rules{Links: []nft.Link{w.linkA(), w.linkB()}}); err != nil || mended != nil {
		t.Errorf("mended %q, %v", mended, err)
	}
}

// A link may have networks, too.
func TestSourcesMayBeNetworks(t *testing.T) {
	w := newWorld(t)
	hears := w.host.hears(t, "10.213.0.5:99")
	attacker := w.b.wire(t, "host0")
	mac := w.host.link(t, "ve-b").Attrs().HardwareAddr
	send := func(source, text string) {
		attacker.send(ethernet(mac, attacker.mac, unix.ETH_P_IP, udp(source, "10.213.0.5:99", text)))
	}
	mark := func() { send("10.213.0.6:4000", "mark") }
	if hears(func() { send("10.213.0.8:4000", "?"); send("10.213.0.3:4000", "?") }, mark) {
		t.Error("heard from without the network")
	}
	w.change(nft.Rules{Links: []nft.Link{w.linkB()}}, nft.Rules{Links: []nft.Link{link("ve-b", "10.213.0.6/32", "10.213.0.0/24", "10.213.0.4/30")}})
	if !hears(func() { send("10.213.0.8:4000", "?") }, mark) {
		t.Error("not heard from within the wider network")
	}
}

// What the host's administrator has a network for on a link may come from there,
// but for what the host has elsewhere, or is itself.
func TestGivenNetworksAreLetIn(t *testing.T) {
	w := newWorld(t)
	w.host.up(t, "ve-a", "10.5.0.1/24", "fd05::1/64")
	w.host.up(t, "ve-b", "10.5.0.129/30", "fd05::8:1/112")
	hears4, hears6 := w.host.hears(t, "10.213.0.1:99"), w.host.hears(t, "[fd00:a::1]:99")
	attacker := w.a.wire(t, "host0")
	mac := w.host.link(t, "ve-a").Attrs().HardwareAddr
	send := func(kind uint16, source, destination, text string) {
		attacker.send(ethernet(mac, attacker.mac, kind, udp(source, destination, text)))
	}
	hear := func(source string) bool {
		hears, kind, to, own := hears4, uint16(unix.ETH_P_IP), "10.213.0.1:99", "10.213.0.2:4001"
		if strings.HasPrefix(source, "[") {
			hears, kind, to, own = hears6, unix.ETH_P_IPV6, "[fd00:a::1]:99", "[fd00:a::2]:4001"
		}
		return hears(func() { send(kind, source, to, "?") }, func() { send(kind, own, to, "mark") })
	}
	given := w.linkA()
	for _, text := range []string{"10.5.0.0/24", "fd05::/64", "0.0.0.0/1", "fd00::/8"} {
		given.Given = append(given.Given, netip.MustParsePrefix(text))
	}
	w.change(nft.Rules{Links: []nft.Link{w.linkA()}}, nft.Rules{Links: []nft.Link{given}})
	for source, want := range map[string]bool{
		"10.213.0.2:4000": true, "10.5.0.2:4000": true, "[fd05::2]:4000": true,
		"10.213.0.6:4000": false, "[fd00:b::2]:4000": false, // of the other machine
		"10.5.0.130:4000": false, "[fd05::8:2]:4000": false, // likewise
		"10.213.0.1:4000": false, "10.5.0.1:4000": false, "[fd05::1]:4000": false, "[fd00:a::1]:4000": false, // of the host
		"10.5.1.2:4000": false, "[fd06::1]:4000": false, // nowhere
	} {
		if got := hear(source); got != want {
			t.Errorf("from %s: heard %t, want %t", source, got, want)
		}
	}
	w.change(nft.Rules{Links: []nft.Link{given}}, nft.Rules{Links: []nft.Link{w.linkA()}})
	if hear("10.5.0.2:4000") || hear("[fd05::2]:4000") || !hear("10.213.0.2:4000") {
		t.Error("taken back, it is as before for some")
	}
}

// Whoever looks for an address by DHCP has none yet.
func TestAddressesCanBeAskedFor(t *testing.T) {
	w := newWorld(t)
	hears := w.host.hears(t, "0.0.0.0:67")
	client := w.a.wire(t, "host0")
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if !hears(func() {
		client.send(ethernet(broadcast, client.mac, unix.ETH_P_IP, udp("0.0.0.0:68", "255.255.255.255:67", "discover")))
	}, func() { w.a.tell(t, "10.213.0.1:67", "mark") }) {
		t.Error("a request by DHCP is dropped")
	}
	// Nor has whoever makes sure that nobody else has it.
	solicitation := icmp6("::", "ff02::1:ff00:2", 135, "fd00:a::2")
	before := w.dropped(t, "guard")
	client.send(ethernet(net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 2}, client.mac, unix.ETH_P_IPV6, solicitation))
	w.a.tell(t, "10.213.0.1:67", "after")
	if got := w.dropped(t, "guard"); got != before {
		t.Errorf("detection of duplicate addresses is dropped:\n%s\n%s", before, got)
	}
}

// What belongs to no connection is not translated, so it must stay.
func TestNothingLeavesWithItsOwnAddress(t *testing.T) {
	w := newWorld(t)
	outside, attacker := w.outside.wire(t, "host0"), w.a.wire(t, "host0")
	mac := w.host.link(t, "ve-a").Attrs().HardwareAddr
	w.a.tell(t, "192.0.2.2:9", "so that the neighbours are known")
	w.a.tell(t, "[2001:db8:1::2]:9", "so that the neighbours are known")
	for _, tt := range []struct {
		kind     uint16
		from, to string
	}{
		{unix.ETH_P_IP, "10.213.0.2:1", "192.0.2.2:9"},
		{unix.ETH_P_IPV6, "[fd00:a::2]:1", "[2001:db8:1::2]:9"},
	} {
		attacker.send(ethernet(mac, attacker.mac, tt.kind, reset(tt.from, tt.to)))
		for deadline := time.Now().Add(never); ; {
			f := outside.next(time.Until(deadline))
			if f == nil {
				break
			}
			if own := netip.MustParseAddrPort(tt.from).Addr().AsSlice(); bytes.Contains(f, own) {
				t.Errorf("a frame of %s leaves: %x", tt.from, f)
			}
		}
	}
}

// dropped returns what the drops of a chain have counted, as nft shows it.
func (w *world) dropped(t *testing.T, chain string) (drops string) {
	t.Helper()
	for line := range strings.Lines(run(t, "", "list", "chain", "inet", "machd", chain)) {
		if strings.Contains(line, "drop") {
			drops += line
		}
	}
	return drops
}
