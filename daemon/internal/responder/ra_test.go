package responder

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// neighbour returns a socket of the guest's for router solicitations.
func (l *lab) neighbour() *ndp.Conn {
	l.Helper()
	var conn *ndp.Conn
	l.in(func() {
		var err error
		for range 50 {
			// The address is not there at once when the link is up.
			if conn, _, err = ndp.Listen(interfaceByName("host0"), ndp.LinkLocal); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		l.must(err)
	})
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	l.must(conn.SetICMPFilter(&only))
	l.Cleanup(func() { conn.Close() })
	return conn
}

func (l *lab) advertisement(conn *ndp.Conn, wait time.Duration) (*ndp.RouterAdvertisement, netip.Addr) {
	l.Helper()
	l.must(conn.SetReadDeadline(time.Now().Add(wait)))
	m, _, from, err := conn.ReadFrom()
	if err != nil {
		l.Fatalf("no router is announced: %v", err)
	}
	a, ok := m.(*ndp.RouterAdvertisement)
	if !ok {
		l.Fatalf("a %T came, want an announcement", m)
	}
	return a, from
}

func TestRouterIsAnnounced(t *testing.T) {
	l := newLab(t)
	conn := l.neighbour()
	l.start()
	first, from := l.advertisement(conn, 5*time.Second)
	want := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true, RouterLifetime: 9000 * time.Second,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: hostMAC},
			&ndp.PrefixInformation{
				PrefixLength: 64, OnLink: true, Prefix: netip.MustParseAddr("fd30:1::"),
				ValidLifetime: ndp.Infinity, PreferredLifetime: ndp.Infinity,
			},
			ndp.NewMTU(1400),
		},
	}
	if diff := cmp.Diff(want, first, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("the first announcement (-want +got):\n%s", diff)
	}
	if !from.IsLinkLocalUnicast() {
		t.Errorf("it comes from %v, want a link-local address", from)
	}

	l.must(conn.WriteTo(routerSolicit, nil, allRouters))
	answer, _ := l.advertisement(conn, 5*time.Second)
	if diff := cmp.Diff(want, answer, cmp.Comparer(sameAddr)); diff != "" {
		t.Errorf("the answer to a solicitation (-want +got):\n%s", diff)
	}
}

var routerSolicit = &ndp.RouterSolicitation{}

// A guest without any network daemon has a kernel that asks.
func TestKernelTakesRouter(t *testing.T) {
	l := newLab(t)
	routes := make(chan netlink.RouteUpdate, 16)
	done := make(chan struct{})
	defer close(done)
	l.must(netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{Namespace: &l.guest}))
	l.start()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case u := <-routes:
			if u.Protocol == unix.RTPROT_RA && u.Gw != nil && u.Gw.IsLinkLocalUnicast() {
				return
			}
		case <-deadline:
			t.Fatal("the guest's kernel has no default route")
		}
	}
}

// A link that comes up later has no address to announce from until then.
func TestRouterIsAnnouncedOnceThatIsPossible(t *testing.T) {
	l := newLab(t)
	link, err := netlink.LinkByName(l.cfg.Link)
	l.must(err)
	conn := l.neighbour()
	l.in(func() { // the guest's kernel does not ask again when the link is back
		l.must(os.WriteFile("/proc/sys/net/ipv6/conf/host0/router_solicitations", []byte("0"), 0))
	})
	l.must(netlink.LinkSetDown(link))
	l.start()
	l.must(netlink.LinkSetUp(link))
	l.advertisement(conn, 15*time.Second)
}

func TestWhoSolicits(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	solicitation := func(src netip.Addr, hops uint8) datagram {
		message, err := ndp.MarshalMessageChecksum(&ndp.RouterSolicitation{}, src, allRouters)
		if err != nil {
			t.Fatal(err)
		}
		return datagram{src: src, dst: allRouters, protocol: unix.IPPROTO_ICMPV6, hops: hops, payload: message}
	}
	neighbour := netip.MustParseAddr("fe80::7")
	for _, test := range []struct {
		name string
		d    datagram
		mac  string
		want netip.Addr // the zero Addr: no answer
	}{
		{"a guest", solicitation(neighbour, 255), guestMAC.String(), neighbour},
		{"a guest without an address", solicitation(netip.IPv6Unspecified(), 255), guestMAC.String(), allNodes},
		{"a stranger", solicitation(neighbour, 255), "02:00:00:00:00:09", netip.Addr{}},
		{"somebody behind a router", solicitation(neighbour, 254), guestMAC.String(), netip.Addr{}},
		{"an address of elsewhere", solicitation(netip.MustParseAddr("2001:db8::1"), 255), guestMAC.String(), netip.Addr{}},
	} {
		d, ok := parse6(test.d.packet())
		if !ok {
			t.Fatalf("%s: it is no packet", test.name)
		}
		if got, _ := cfg.solicited(d, mac(test.mac)); got != test.want {
			t.Errorf("%s: the answer goes to %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzHandleIPv6(f *testing.F) {
	cfg := testConfig()
	neighbour := netip.MustParseAddr("fe80::7")
	message, err := ndp.MarshalMessageChecksum(&ndp.RouterSolicitation{
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: guestMAC}},
	}, neighbour, allRouters)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, message)
	for _, q := range queries6() {
		f.Add(true, q.ToBytes())
	}
	f.Fuzz(func(t *testing.T, dhcp bool, message []byte) {
		d := datagram{src: neighbour, dst: allRouters, protocol: unix.IPPROTO_ICMPV6, hops: ndHops, payload: message}
		if to, ok := cfg.solicited(d, guestMAC); ok && to != neighbour {
			t.Fatalf("an announcement goes to %v", to)
		}
		if answer, ok := cfg.handle6(d, guestMAC); dhcp && ok {
			checkAnswer6(t, answer)
		}
	})
}
