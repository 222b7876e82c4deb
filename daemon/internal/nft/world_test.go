package nft_test

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// A space is a network namespace that plays a machine, or a host far away.
type space struct {
	name string
	ns   netns.NsHandle
	*netlink.Handle
}

// host is the namespace of this process.
func host(tb testing.TB) space {
	tb.Helper()
	ns, err := netns.GetFromPid(os.Getpid())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ns.Close() })
	return open(tb, "host", ns)
}

func newSpace(tb testing.TB, name string) space {
	tb.Helper()
	var ns netns.NsHandle
	onThread(func() {
		var err error
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = netns.Get()
		}
		if err != nil {
			tb.Error(err)
		}
	})
	if tb.Failed() {
		tb.FailNow()
	}
	tb.Cleanup(func() { ns.Close() })
	s := open(tb, name, ns)
	s.up(tb, "lo")
	return s
}

func open(tb testing.TB, name string, ns netns.NsHandle) space {
	tb.Helper()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(handle.Close)
	return space{name, ns, handle}
}

// onThread runs f on a thread of its own, which may be in another namespace then.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, so the thread ends with this
		f()
	}()
	<-done
}

// do runs f in the namespace. What it opens stays there.
func (s space) do(tb testing.TB, f func()) {
	tb.Helper()
	onThread(func() {
		if err := netns.Set(s.ns); err != nil {
			tb.Error(err)
			return
		}
		f()
	})
}

func (s space) link(tb testing.TB, name string) netlink.Link {
	tb.Helper()
	l, err := s.LinkByName(name)
	if err != nil {
		tb.Fatalf("%s: %s: %v", s.name, name, err)
	}
	return l
}

// up raises a link with addresses, which come at once.
func (s space) up(tb testing.TB, name string, addresses ...string) {
	tb.Helper()
	l := s.link(tb, name)
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			tb.Fatal(err)
		}
		a.Flags = unix.IFA_F_NODAD
		if err := s.AddrAdd(l, a); err != nil {
			tb.Fatalf("%s: %s: %v", s.name, text, err)
		}
	}
	if err := s.LinkSetUp(l); err != nil {
		tb.Fatal(err)
	}
}

// defaultRoutes go through the first address of the network of each address.
func (s space) defaultRoutes(tb testing.TB, link string, gateways ...string) {
	tb.Helper()
	for _, g := range gateways {
		route := netlink.Route{LinkIndex: s.link(tb, link).Attrs().Index, Gw: net.ParseIP(g)}
		if err := s.RouteAdd(&route); err != nil {
			tb.Fatalf("%s: default by %s: %v", s.name, g, err)
		}
	}
}

// plug makes a veth between the host and s, where it is called host0.
func (s space) plug(tb testing.TB, h space, name string) {
	tb.Helper()
	// The names of a namespace that is going may still be there.
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "host0", PeerNamespace: netlink.NsFd(s.ns)}
	if err := h.LinkAdd(veth); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	tb.Cleanup(func() { h.LinkDel(veth) })
}

// sysctl of the host's namespace.
func sysctl(tb testing.TB, name, value string) {
	tb.Helper()
	path := filepath.Join("/proc/sys/net", name)
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		tb.Fatal(err)
	}
}

// A world is a host with two links to elsewhere and two machines.
//
//	outside 192.0.2.2 ─ up0 192.0.2.1 ┐        ┌ ve-a 10.213.0.1 ─ 10.213.0.2 a
//	elsewhere 198.51.100.2 ─ up1 .1   ┴─ host ─┴ ve-b 10.213.0.5 ─ 10.213.0.6 b
type world struct {
	tb                       testing.TB
	host                     space
	outside, elsewhere, a, b space
	table                    *nft.Table
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		tb: t, host: host(t), outside: newSpace(t, "outside"), elsewhere: newSpace(t, "elsewhere"), a: newSpace(t, "a"), b: newSpace(t, "b"),
	}
	w.host.up(t, "lo")
	for _, x := range []struct {
		space                    space
		link, there4, here4, six string
	}{
		{w.outside, "up0", "192.0.2.2/24", "192.0.2.1", "2001:db8:1::"},
		{w.elsewhere, "up1", "198.51.100.2/24", "198.51.100.1", "2001:db8:2::"},
		{w.a, "ve-a", "10.213.0.2/30", "10.213.0.1", "fd00:a::"},
		{w.b, "ve-b", "10.213.0.6/30", "10.213.0.5", "fd00:b::"},
	} {
		x.space.plug(t, w.host, x.link)
		_, bits, _ := strings.Cut(x.there4, "/")
		w.host.up(t, x.link, x.here4+"/"+bits, x.six+"1/64")
		x.space.up(t, "host0", x.there4, x.six+"2/64")
		x.space.defaultRoutes(t, "host0", x.here4, x.six+"1")
		sysctl(t, "ipv4/conf/"+x.link+"/forwarding", "1")
		// What is refused is to be refused by the rules.
		sysctl(t, "ipv4/conf/"+x.link+"/rp_filter", "0")
	}
	sysctl(t, "ipv4/conf/all/rp_filter", "0")
	sysctl(t, "ipv6/conf/all/forwarding", "1")
	w.table = openTable(t)
	w.change(nft.Rules{}, nft.Rules{Links: []nft.Link{w.linkA(), w.linkB()}})
	for _, link := range []string{"ve-a", "ve-b"} {
		sysctl(t, "ipv4/conf/"+link+"/route_localnet", "1")
		w.loopback6(link)
	}
	return w
}

func (w *world) linkA() nft.Link { return link("ve-a", "10.213.0.2/32", "fd00:a::2/128") }
func (w *world) linkB() nft.Link { return link("ve-b", "10.213.0.4/30", "fd00:b::/64") }

func link(name string, sources ...string) nft.Link {
	l := nft.Link{Name: name}
	for _, s := range sources {
		l.Sources = append(l.Sources, netip.MustParsePrefix(s))
	}
	return l
}

// loopback6 lets answers to ::1 in by the link.
func (w *world) loopback6(link string) {
	w.tb.Helper()
	route := netlink.Route{
		LinkIndex: w.host.link(w.tb, link).Attrs().Index, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Priority: 1024,
		Dst: &net.IPNet{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
	if err := w.host.RouteAppend(&route); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) change(remove, add nft.Rules) {
	w.tb.Helper()
	if err := w.table.Change(remove, add); err != nil {
		w.tb.Fatal(err)
	}
}

func openTable(tb testing.TB) *nft.Table {
	tb.Helper()
	table, err := nft.Open(slog.New(slog.NewTextHandler(tb.Output(), nil)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := table.Remove(); err != nil {
			tb.Error(err)
		}
		table.Close()
	})
	return table
}

// port leads from every address, or from addr.
func port(protocol uint8, addr string, number uint16, to string) nft.Port {
	p := nft.Port{Protocol: protocol, Port: number, To: netip.MustParseAddrPort(to)}
	if addr != "" {
		p.Addr = netip.MustParseAddr(addr)
	}
	return p
}

func inward(link string, protocol uint8, at, to string) nft.Inward {
	return nft.Inward{Link: link, Protocol: protocol, At: netip.MustParseAddrPort(at), To: netip.MustParseAddrPort(to)}
}

// both protocols of a function of one.
func both[T any](f func(protocol uint8) T) []T {
	return []T{f(unix.IPPROTO_TCP), f(unix.IPPROTO_UDP)}
}

// run has nft do something, as somebody else would.
func run(tb testing.TB, input string, args ...string) string {
	tb.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("nft %s: %v\n%s%s", strings.Join(args, " "), err, out, input)
	}
	return string(out)
}
