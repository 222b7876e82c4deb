package link_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
)

var ofAMachine = link.Config{
	Link: "host0", Up: true, MTU: 1400, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7},
	Addrs: prefixes("10.0.1.2/30", "fd00:1::2/64"),
	Routes: []link.Route{
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.1.1")},
		{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fd00:1::1")},
	},
	NoRA: true, NoDAD: true,
}

const (
	addressesOfIt = "10.0.1.2/30 fd00:1::2/64"
	routesOfIt    = "0.0.0.0/0 via 10.0.1.1, ::/0 via fd00:1::1"
)

func TestALinkOfAMachineIsConfigured(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]uintptr{"its own users": syscall.CLONE_NEWUSER, "our users": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, machine := newSpace(t, 0), newSpace(t, flags)
			host.connect("ve-a", machine, "host0")
			host.up("ve-a")
			_, err := machine.Configure(ofAMachine)
			must(t, err)
			if got := machine.addressesOf("host0"); got != addressesOfIt {
				t.Errorf("it has the addresses %s", got)
			}
			if got := machine.routesOf("host0"); got != routesOfIt {
				t.Errorf("it has the routes %s", got)
			}
			attributes := machine.find("host0").Attrs()
			if attributes.MTU != 1400 || attributes.HardwareAddr.String() != "02:00:00:00:00:07" || attributes.Flags&net.FlagUp == 0 {
				t.Errorf("it has MTU %d, MAC %s, %s", attributes.MTU, attributes.HardwareAddr, attributes.Flags)
			}
			machine.is("net/ipv6/conf/host0/accept_ra", "0")
			machine.is("net/ipv6/conf/host0/accept_dad", "0")
		})
	}
}

func TestAPortOfABridgeGetsWhatItSendsToItself(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("vb-a", machine, "host0")
	must(t, host.other.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "vz-z"}}))
	must(t, host.other.LinkSetMaster(host.find("vb-a"), host.find("vz-z")))
	for _, on := range []bool{true, false} {
		must(t, host.Hairpin("vb-a", on))
		info, err := host.other.LinkGetProtinfo(host.find("vb-a"))
		must(t, err)
		if info.Hairpin != on {
			t.Errorf("it is in the mode %+v", info)
		}
	}
	if err := host.Hairpin("vb-b", true); !errors.Is(err, link.ErrNoLink) {
		t.Errorf("of no port it says %v", err)
	}
}

func TestConfiguringAgainChangesNothing(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	_, err := machine.Configure(ofAMachine)
	must(t, err)
	undo, err := machine.Configure(ofAMachine)
	must(t, err)
	must(t, undo())
	if got := machine.addressesOf("host0"); got != addressesOfIt {
		t.Errorf("taking back what was there already leaves the addresses %s", got)
	}
	if got := machine.routesOf("host0"); got != routesOfIt {
		t.Errorf("taking back what was there already leaves the routes %s", got)
	}
}

func TestAConfigurationIsTakenBack(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	before := machine.find("host0").Attrs()
	// One address is somebody else's, and stays his.
	address, _ := netlink.ParseAddr("10.0.1.2/30")
	must(t, machine.other.AddrAdd(machine.find("host0"), address))
	undo, err := machine.Configure(ofAMachine)
	must(t, err)
	must(t, undo())
	after := machine.find("host0").Attrs()
	if after.MTU != before.MTU || after.HardwareAddr.String() != before.HardwareAddr.String() || after.Flags&net.FlagUp != 0 {
		t.Errorf("it has MTU %d, MAC %s, %s", after.MTU, after.HardwareAddr, after.Flags)
	}
	if got := machine.addressesOf("host0"); got != "10.0.1.2/30" {
		t.Errorf("it has the addresses %q, want what was there", got)
	}
	machine.is("net/ipv6/conf/host0/accept_ra", "1")
	machine.is("net/ipv6/conf/host0/accept_dad", "1")
}

func TestAConfigurationThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	config := ofAMachine
	config.Routes = append(config.Routes[:1:1], link.Route{
		Dst: netip.MustParsePrefix("192.168.7.0/24"), Via: netip.MustParseAddr("172.16.0.1"),
	})
	_, err := machine.Configure(config)
	if !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("a router that cannot be reached: %v", err)
	}
	if got := machine.addressesOf("host0") + machine.routesOf("host0"); got != "" {
		t.Errorf("left are %s", got)
	}
}

func TestALinkThatHasGoneIsTakenBackWithoutAnError(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	undo, err := machine.Configure(ofAMachine)
	must(t, err)
	must(t, host.other.LinkDel(host.find("ve-a")))
	must(t, undo())
}

func TestAnotherRouteToTheSameStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		there  link.Route
		routes string
	}{
		"of an administrator's": {
			link.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("172.16.0.1"), OnLink: true},
			"0.0.0.0/0 via 172.16.0.1, ::/0 via fd00:1::1",
		},
		// networkd's in a guest, which has asked for a router.
		"of a router that told": {
			link.Route{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), Metric: 1024},
			"0.0.0.0/0 via 10.0.1.1, ::/0 via fe80::1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, machine := newSpace(t, 0), newSpace(t, 0)
			host.connect("ve-a", machine, "host0")
			host.up("ve-a")
			first := ofAMachine
			first.Routes = []link.Route{c.there}
			_, err := machine.Configure(first)
			must(t, err)
			undo, err := machine.Configure(ofAMachine)
			must(t, err)
			if got := machine.routesOf("host0"); got != c.routes {
				t.Errorf("it has the routes %s, want %s", got, c.routes)
			}
			must(t, undo())
			if got, want := machine.routesOf("host0"), fmt.Sprintf("%s via %s", c.there.Dst, c.there.Via); got != want {
				t.Errorf("taking back ours leaves the routes %s, want %s", got, want)
			}
		})
	}
}

func TestWhereIPv6IsOffItIsLeftOut(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	host.up("ve-a")
	if why := machine.WithoutIPv6("host0"); why != "" {
		t.Fatalf("IPv6 is said to be off: %s", why)
	}
	machine.set("net/ipv6/conf/host0/disable_ipv6", "1")
	if why := machine.WithoutIPv6("host0"); why != "net.ipv6.conf.host0.disable_ipv6 is 1" {
		t.Errorf("the reason is %q", why)
	}
	_, err := machine.Configure(ofAMachine)
	must(t, err)
	if got := machine.addressesOf("host0"); got != "10.0.1.2/30" {
		t.Errorf("it has the addresses %s", got)
	}
	if got := machine.routesOf("host0"); got != "0.0.0.0/0 via 10.0.1.1" {
		t.Errorf("it has the routes %s", got)
	}
}

func TestALinkTooSmallForIPv6HasNone(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	host.connect("ve-a", machine, "host0")
	config := ofAMachine
	config.MTU = 1200
	undo, err := machine.Configure(config)
	must(t, err)
	if got := machine.addressesOf("host0"); got != "10.0.1.2/30" {
		t.Errorf("it has the addresses %s", got)
	}
	if why := machine.WithoutIPv6("host0"); why != "link host0 has no IPv6, perhaps because its MTU is below 1280" {
		t.Errorf("the reason is %q", why)
	}
	must(t, undo())
	if got := machine.find("host0").Attrs().MTU; got != 1500 {
		t.Errorf("its MTU is %d", got)
	}
}

func TestAnswersToLoopbackComeByEveryLink(t *testing.T) {
	t.Parallel()
	host, machine := newSpace(t, 0), newSpace(t, 0)
	for name, inside := range map[string]string{"ve-a": "host0", "ve-b": "host1"} {
		host.connect(name, machine, inside)
		host.up(name)
		machine.up(inside)
		for range 2 {
			must(t, host.Loopback6(host.find(name).Attrs().Index))
		}
	}
	routes, err := host.Routes()
	must(t, err)
	over := map[int]int{}
	for _, r := range routes {
		if r.Dst == netip.MustParsePrefix("::1/128") && r.Table == unix.RT_TABLE_LOCAL {
			over[r.Link]++
		}
	}
	a, b, lo := host.find("ve-a").Attrs().Index, host.find("ve-b").Attrs().Index, host.find("lo").Attrs().Index
	if len(over) != 3 || over[a] != 1 || over[b] != 1 || over[lo] != 1 {
		t.Errorf("routes to ::1 by link: %v; want one each of %d, %d and lo, %d", over, a, b, lo)
	}
}
