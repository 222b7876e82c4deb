package link_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func kind(name, kind string) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: name}, LinkType: kind}
}

func TestUplinksLeadElsewhere(t *testing.T) {
	t.Parallel()
	host, elsewhere := newSpace(t, 0), newSpace(t, 0)
	for name, addresses := range map[string][]string{
		"eth0":  {"192.0.2.2/24", "2001:db8::2/64"},
		"eth1":  {"198.51.100.2/24"},
		"quiet": nil,                // has nothing but an address of the link itself
		"ppp":   nil,                // has a route, no address
		"port":  {"203.0.113.2/24"}, // is a bridge's
		"ve-a":  {"10.0.1.1/30"},    // is ours
		"local": {"169.254.7.7/16"},
	} {
		host.connect(name, elsewhere, name)
		host.up(name, addresses...)
		elsewhere.up(name)
	}
	host.add(kind("br0", "bridge"), "203.0.113.3/24")
	must(t, host.other.LinkSetMaster(host.find("port"), host.find("br0")))
	host.route("0.0.0.0/0", "192.0.2.1", "eth0")
	host.route("10.9.0.0/16", "", "ppp")
	host.route("::/1", "2001:db8::1", "eth0")
	uplinks, err := host.Uplinks(ours)
	must(t, err)
	found := map[string]string{}
	for _, u := range uplinks {
		found[u.Name] = fmt.Sprint(u.Default4, u.Default6)
	}
	want := map[string]string{"eth0": "true true", "eth1": "false false", "ppp": "false false", "br0": "false false"}
	if fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", found, want)
	}
}

func TestANetworkThatIsInUseIsSaid(t *testing.T) {
	t.Parallel()
	host, elsewhere := newSpace(t, 0), newSpace(t, 0)
	host.connect("eth0", elsewhere, "eth0")
	host.up("eth0", "192.168.7.2/24", "fd12:3456::2/64")
	elsewhere.up("eth0")
	host.connect("ve-a", elsewhere, "host0")
	host.up("ve-a", "10.213.0.1/30")
	elsewhere.up("host0")
	host.route("10.8.0.0/16", "192.168.7.1", "eth0")
	host.route("0.0.0.0/0", "192.168.7.1", "eth0")
	host.route("128.0.0.0/1", "192.168.7.1", "eth0")
	must(t, host.other.RouteAdd(&netlink.Route{
		Dst: netlink.NewIPNet([]byte{100, 64, 0, 0}), Type: 6, // blackhole
	}))
	occupied, err := host.Occupied(ours)
	must(t, err)
	for prefix, want := range map[string]string{
		"192.168.0.0/16":     "192.168.7.0/24 on eth0",
		"192.168.7.128/30":   "192.168.7.0/24 on eth0",
		"192.168.8.0/24":     "",
		"10.8.3.0/30":        "10.8.0.0/16 on eth0",
		"10.213.0.0/30":      "", // is on a link of ours
		"100.64.0.0/30":      "", // leads nowhere
		"200.0.0.0/24":       "",
		"fd12:3456::/48":     "fd12:3456::/64 on eth0",
		"fd12:3456:0:1::/64": "",
		"fe80::/64":          "",
	} {
		what, yes := occupied.Overlaps(netip.MustParsePrefix(prefix))
		if what != want || yes != (want != "") {
			t.Errorf("%s clashes with %q (%v), want %q", prefix, what, yes, want)
		}
	}
}

func TestLinksAreDescribed(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	must(t, host.other.LinkAddAltName(host.find("ve-a"), "ve-a-name-that-is-long"))
	host.up("ve-a", "10.0.1.1/30")
	host.add(kind("br0", "bridge"))
	must(t, host.other.LinkSetMaster(host.find("ve-a"), host.find("br0")))
	for _, name := range []string{"ve-a", "ve-a-name-that-is-long"} {
		l, err := host.Link(name)
		must(t, err)
		byIndex, err := host.ByIndex(host.find("ve-a").Attrs().Index)
		must(t, err)
		if fmt.Sprint(l) != fmt.Sprint(byIndex) {
			t.Errorf("by name it is %+v, by index %+v", l, byIndex)
		}
		attributes, peer := host.find("ve-a").Attrs(), machine.find("host0").Attrs()
		got := fmt.Sprint(l.Name, l.AltNames, l.Kind, l.MTU, l.Up, l.Carrier, l.Addrs, l.MAC, l.Peer, l.PeerNS)
		want := fmt.Sprint("ve-a", []string{"ve-a-name-that-is-long"}, "veth", 1500, true, false, prefixes("10.0.1.1/30"),
			attributes.HardwareAddr, peer.Index, true)
		if got != want || l.Master != host.find("br0").Attrs().Index {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	links, err := host.Links()
	must(t, err)
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	if got := strings.Join(names, " "); got != "lo ve-a br0" {
		t.Errorf("there are %s", got)
	}
}
