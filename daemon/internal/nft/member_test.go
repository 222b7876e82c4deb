package nft_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// A zone is a host with a bridge that the machines c and d are at.
type zone struct {
	host, c, d space
	table      *nft.Table
	rules      nft.Rules
}

const routerOfZone = "fe80::face"

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{host: host(t), c: newSpace(t, "c"), d: newSpace(t, "d")}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "vz-z"}}
	if err := z.host.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.host.LinkDel(bridge) })
	z.host.up(t, "lo")
	z.host.up(t, "vz-z", "10.214.0.1/24", "fd00:f::1/64", routerOfZone+"/64")
	sysctl(t, "ipv4/conf/vz-z/forwarding", "1")
	sysctl(t, "ipv4/conf/vz-z/route_localnet", "1")
	(&world{tb: t, host: z.host}).loopback6("vz-z")
	sysctl(t, "ipv6/conf/all/forwarding", "1")
	for _, x := range []struct {
		space           space
		link, four, six string
	}{{z.c, "vb-c", "10.214.0.2", "fd00:f::2"}, {z.d, "vb-d", "10.214.0.3", "fd00:f::3"}} {
		x.space.plug(t, z.host, x.link)
		z.host.up(t, x.link)
		if err := z.host.LinkSetMaster(z.host.link(t, x.link), bridge); err != nil {
			t.Fatal(err)
		}
		x.space.up(t, "host0", x.four+"/24", x.six+"/64")
		x.space.defaultRoutes(t, "host0", "10.214.0.1", "fd00:f::1")
		z.rules.Members = append(z.rules.Members, nft.Member{
			Name: x.link, MAC: x.space.link(t, "host0").Attrs().HardwareAddr,
			Sources: []netip.Addr{netip.MustParseAddr(x.four), netip.MustParseAddr(x.six)},
		})
	}
	z.rules.Links = []nft.Link{link("vz-z", "10.214.0.0/24", "fd00:f::/64")}
	z.rules.Routers = []netip.Addr{netip.MustParseAddr(routerOfZone)}
	z.table = openTable(t)
	if err := z.table.Change(nft.Rules{}, z.rules); err != nil {
		t.Fatal(err)
	}
	return z
}

func (z *zone) ask(t *testing.T, questions ...question) {
	t.Helper()
	(&world{tb: t}).ask(t, questions...)
}

func TestMachinesOfAZone(t *testing.T) {
	for _, mode := range []string{"0", "1"} {
		t.Run("br_netfilter "+mode, func(t *testing.T) {
			z := newZone(t)
			z.through(t, mode)
			z.c.serve(t, "0.0.0.0:80", "[::]:80")
			z.host.serve(t, "0.0.0.0:90", "[::]:90", "127.0.0.1:3306", "[::1]:3306")
			if err := z.table.Change(nft.Rules{}, nft.Rules{Ports: ports(
				both(func(p uint8) nft.Port { return port(p, "", 8080, "10.214.0.2:80") }),
				both(func(p uint8) nft.Port { return port(p, "", 8080, "[fd00:f::2]:80") }),
			), Inward: append(
				both(func(p uint8) nft.Inward { return inward("vz-z", p, "10.214.0.1:306", "127.0.0.1:3306") }),
				both(func(p uint8) nft.Inward { return inward("vz-z", p, "[fd00:f::1]:306", "[::1]:3306") })...,
			)}); err != nil {
				t.Fatal(err)
			}
			z.ask(t,
				question{z.d, "10.214.0.2:80", "c 10.214.0.3"},
				question{z.d, "[fd00:f::2]:80", "c fd00:f::3"},
				question{z.host, "10.214.0.2:80", "c 10.214.0.1"},
				question{z.host, "[fd00:f::2]:80", "c fd00:f::1"},
				question{z.d, "10.214.0.1:90", "host 10.214.0.3"},
				question{z.host, "127.0.0.1:90", "host 127.0.0.1"},
				question{z.host, "127.0.0.1:8080", "c 10.214.0.1"},
				question{z.d, "10.214.0.1:306", "host 10.214.0.3"},
				// By the host's address a machine of the zone is seen as the host, to
				// which the answer must go back.
				question{z.d, "10.214.0.1:8080", "c 10.214.0.1"},
				question{z.d, "[fd00:f::1]:8080", "c fd00:f::1"},
				question{z.c, "10.214.0.1:8080", "c 10.214.0.1"},
				question{z.c, "[fd00:f::1]:8080", "c fd00:f::1"},
			)
			if mode == "1" {
				return // ::1 is not to be had there, see Port
			}
			z.ask(t,
				question{z.host, "[::1]:8080", "c fd00:f::1"},
				question{z.d, "[fd00:f::1]:306", "host fd00:f::3"},
			)
		})
	}
}

// through has what crosses bridges go through the rules of IP, or not. Hosts with
// other containers often do. A port that asks itself has to be in hairpin mode
// then.
func (z *zone) through(t *testing.T, mode string) {
	t.Helper()
	for _, family := range []string{"iptables", "ip6tables"} {
		sysctl(t, "bridge/bridge-nf-call-"+family, mode)
	}
	for _, port := range []string{"vb-c", "vb-d"} {
		if err := z.host.LinkSetHairpin(z.host.link(t, port), mode == "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// A port in hairpin mode gets what it says itself, but not what it says to all.
func TestReflections(t *testing.T) {
	z := newZone(t)
	z.through(t, "1")
	c, d := z.c.wire(t, "host0"), z.d.wire(t, "host0")
	for _, to := range []string{"ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:01"} {
		mac, err := net.ParseMAC(to)
		if err != nil {
			t.Fatal(err)
		}
		f := ethernet(mac, d.mac, unix.ETH_P_IP, udp("10.214.0.3:1", "10.214.0.255:9", to))
		d.send(f)
		if !c.sees(f) {
			t.Errorf("%s: does not arrive at another machine", to)
		}
		if d.sees(f) {
			t.Errorf("%s: comes back", to)
		}
	}
}

// A member has an address that is not its own, and answers ARP and neighbour
// solicitations for it as any kernel does.
func TestMemberAnswersForOthers(t *testing.T) {
	z := newZone(t)
	z.d.up(t, "host0", "10.214.0.77/24", "fd00:f::77/64", "10.214.0.78/24", "fd00:f::78/64")
	z.d.serve(t, "10.214.0.3:80", "[fd00:f::3]:80", "10.214.0.77:80", "[fd00:f::77]:80", "10.214.0.78:80", "[fd00:f::78]:80")
	for _, asker := range []space{z.host, z.c} {
		z.ask(t, question{asker, "10.214.0.77:80", ""}, question{asker, "[fd00:f::77]:80", ""})
	}
	z.ask(t, question{z.c, "10.214.0.3:80", "d 10.214.0.2"}, question{z.c, "[fd00:f::3]:80", "d fd00:f::2"})
	// Had these been asked for before, the askers would know that they are not there.
	member := z.rules.Members[1]
	member.Sources = append(member.Sources, netip.MustParseAddr("10.214.0.78"), netip.MustParseAddr("fd00:f::78"))
	if err := z.table.Change(nft.Rules{}, nft.Rules{Members: []nft.Member{member}}); err != nil {
		t.Fatal(err)
	}
	z.ask(t, question{z.host, "10.214.0.78:80", "d 10.214.0.1"}, question{z.host, "[fd00:f::78]:80", "d fd00:f::1"})
}

// d sends frames of every kind to c.
func TestFramesOfAMember(t *testing.T) {
	z := newZone(t)
	c, d := z.c.wire(t, "host0"), z.d.wire(t, "host0")
	stranger := net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}
	ip := func(from string) frame { return ethernet(c.mac, d.mac, unix.ETH_P_IP, udp(from, "10.214.0.2:9", "?")) }
	ip6 := func(from string) frame {
		return ethernet(c.mac, d.mac, unix.ETH_P_IPV6, udp(from, "[fd00:f::2]:9", "?"))
	}
	arps := func(operation uint16, mac net.HardwareAddr, address string) frame {
		return ethernet(c.mac, d.mac, unix.ETH_P_ARP, arp(operation, mac, address, c.mac, "10.214.0.2"))
	}
	icmp := func(from string, kind byte, target string) frame {
		return ethernet(c.mac, d.mac, unix.ETH_P_IPV6, icmp6(from, "fd00:f::2", kind, target))
	}
	const request, reply, routerAdvertisement, solicitation, advertisement, redirect = 1, 2, 134, 135, 136, 137
	own := udp("10.214.0.3:1", "10.214.0.2:9", "?")
	tagged := append([]byte{0, 5, 8, 0}, own...)
	for _, tt := range []struct {
		name  string
		frame frame
		want  bool
	}{
		{"IPv4 of its own", ip("10.214.0.3:1"), true},
		{"IPv4 of c", ip("10.214.0.2:1"), false},
		{"IPv4 of the host", ip("10.214.0.1:1"), false},
		{"IPv4 of nobody", ip("10.214.0.99:1"), false},
		{"IPv4 of its own, by another MAC", ethernet(c.mac, stranger, unix.ETH_P_IP, own), false},
		{"IPv4 of its own, by c's MAC", ethernet(c.mac, c.mac, unix.ETH_P_IP, own), false},
		{"IPv4 of its own, in a VLAN", ethernet(c.mac, d.mac, unix.ETH_P_8021Q, tagged), false},
		{"IPv4 of its own, in two VLANs", ethernet(c.mac, d.mac, unix.ETH_P_8021AD, tagged), false},
		{"a request by DHCP", ethernet(c.mac, d.mac, unix.ETH_P_IP, udp("0.0.0.0:68", "255.255.255.255:67", "?")), true},
		{"an answer by DHCP", ip("10.214.0.3:67"), false},
		{"another protocol", ethernet(c.mac, d.mac, unix.ETH_P_PPP_SES, own), false},
		{"a frame of spanning tree", ethernet(c.mac, d.mac, 38, append([]byte{0x42, 0x42, 3}, make([]byte, 60)...)), false},
		{"ARP of its own", arps(reply, d.mac, "10.214.0.3"), true},
		{"ARP asking", arps(request, d.mac, "10.214.0.3"), true},
		{"ARP asking without an address", arps(request, d.mac, "0.0.0.0"), true},
		{"ARP answering without an address", arps(reply, d.mac, "0.0.0.0"), false},
		{"ARP for the host", arps(reply, d.mac, "10.214.0.1"), false},
		{"ARP for c", arps(reply, d.mac, "10.214.0.2"), false},
		{"ARP asking as the host", arps(request, d.mac, "10.214.0.1"), false},
		{"ARP that names another MAC", arps(reply, stranger, "10.214.0.3"), false},
		{"IPv6 of its own", ip6("[fd00:f::3]:1"), true},
		{"IPv6 of the link", ip6("[fe80::3]:1"), true},
		{"IPv6 of c", ip6("[fd00:f::2]:1"), false},
		{"IPv6 of the host", ip6("[fd00:f::1]:1"), false},
		{"IPv6 of the router", ip6("[" + routerOfZone + "]:1"), false},
		{"IPv6 of nobody", ip6("[::]:1"), false},
		{"an answer by DHCPv6", ip6("[fe80::3]:547"), false},
		{"a request by DHCPv6", ip6("[fe80::3]:546"), true},
		{"a router's advertisement", icmp("fe80::3", routerAdvertisement, "::"), false},
		{"a redirection", icmp("fe80::3", redirect, "fd00:f::3"), false},
		{"advertisement of itself", icmp("fd00:f::3", advertisement, "fd00:f::3"), true},
		{"advertisement of itself on the link", icmp("fe80::3", advertisement, "fe80::3"), true},
		{"advertisement of c", icmp("fd00:f::3", advertisement, "fd00:f::2"), false},
		{"advertisement of c on the link's address", icmp("fe80::3", advertisement, "fd00:f::2"), false},
		{"advertisement of the router", icmp("fe80::3", advertisement, routerOfZone), false},
		{"solicitation of c", icmp("fd00:f::3", solicitation, "fd00:f::2"), true},
		{"looking for its own address", icmp("::", solicitation, "fd00:f::3"), true},
		{"looking for an address of the link", icmp("::", solicitation, "fe80::3"), true},
		{"looking for c's address", icmp("::", solicitation, "fd00:f::2"), false},
		{"looking for the router's address", icmp("::", solicitation, routerOfZone), false},
	} {
		d.send(tt.frame)
		if got := c.sees(tt.frame); got != tt.want {
			t.Errorf("%s: arrives %t, want %t", tt.name, got, tt.want)
		}
	}
}

// sees tells whether the frame arrives soon.
func (w wire) sees(f frame) bool {
	for deadline := time.Now().Add(late); ; {
		got := w.next(time.Until(deadline))
		if got == nil {
			return false
		}
		if bytes.Equal(got, f) {
			return true
		}
	}
}

// The rules for bridges are there only while there is somebody to watch.
func TestBridgeTableIsThereForMembersOnly(t *testing.T) {
	table := openTable(t)
	if err := table.Change(nft.Rules{}, nft.Rules{Links: []nft.Link{link("ve-x")}}); err != nil {
		t.Fatal(err)
	}
	if got, want := run(t, "", "list", "tables"), "table inet machd\n"; got != want {
		t.Errorf("there are:\n%swant:\n%s", got, want)
	}
}
