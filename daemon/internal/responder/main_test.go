package responder

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var (
	gateway4 = netip.MustParsePrefix("10.213.0.1/30")
	gateway6 = netip.MustParsePrefix("fd30:1::1/64")
	guest4   = netip.MustParseAddr("10.213.0.2")
	guest6   = netip.MustParseAddr("fd30:1::2")
	guestMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	hostMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
)

// testConfig is of a link with one guest.
func testConfig() Config {
	return Config{
		Link: "ve-c1", Gateway4: gateway4, Gateway6: gateway6, MTU: 1400,
		Guest: func(mac net.HardwareAddr) (Guest, bool) {
			return Guest{Addr4: guest4, Addr6: guest6, Hostname: "c1"}, mac.String() == guestMAC.String()
		},
		Lookup: func(name string) ([]netip.Addr, bool) {
			return []netip.Addr{guest4, guest6}, name == "c1"
		},
		Reverse: func(addr netip.Addr) (string, bool) { return "c1", addr == guest4 || addr == guest6 },
		Log:     slog.New(slog.DiscardHandler),
	}
}

// A lab is a link between the namespace of the tests and a guest's.
type lab struct {
	testing.TB
	cfg   Config
	guest vns.NsHandle
	inner *netlink.Handle // in the guest's namespace
}

// newLab makes a link that is up at both ends, with addresses at the host's.
func newLab(tb testing.TB) *lab {
	tb.Helper()
	l := &lab{TB: tb, cfg: testConfig()}
	l.guest = netlab.New(tb)
	l.in(func() { l.must(os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)) })
	l.must(os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))

	link := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: l.cfg.Link, HardwareAddr: hostMAC},
		PeerName:  "host0", PeerHardwareAddr: guestMAC, PeerNamespace: netlink.NsFd(l.guest),
	}
	l.must(netlink.LinkAdd(link))
	tb.Cleanup(func() { netlink.LinkDel(link) })
	for _, addr := range []netip.Prefix{gateway4, gateway6} {
		l.must(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr), Flags: unix.IFA_F_NODAD}))
	}
	l.must(netlink.LinkSetUp(link))
	lo, err := netlink.LinkByName("lo")
	l.must(err)
	l.must(netlink.LinkSetUp(lo))
	l.cfg.Index = link.Attrs().Index

	l.inner, err = netlink.NewHandleAt(l.guest)
	l.must(err)
	tb.Cleanup(l.inner.Close)
	host0, err := l.inner.LinkByName("host0")
	l.must(err)
	l.must(l.inner.LinkSetUp(host0))
	l.awaitCarrier()
	return l
}

// awaitCarrier waits until nothing that is sent on the link is lost: the kernel
// may take a second for that.
func (l *lab) awaitCarrier() {
	l.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		outer, err := netlink.LinkByName(l.cfg.Link)
		l.must(err)
		inner, err := l.inner.LinkByName("host0")
		l.must(err)
		if outer.Attrs().OperState == netlink.OperUp && inner.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			l.Fatalf("the link is %v and %v after ten seconds", outer.Attrs().OperState, inner.Attrs().OperState)
		}
	}
}

// configure gives the guest's end its addresses, as machd does.
func (l *lab) configure() {
	l.Helper()
	host0, err := l.inner.LinkByName("host0")
	l.must(err)
	for _, addr := range []netip.Addr{guest4, guest6} {
		bits := gateway4.Bits()
		if addr.Is6() {
			bits = gateway6.Bits()
		}
		l.must(l.inner.AddrAdd(host0, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, bits)), Flags: unix.IFA_F_NODAD}))
	}
}

// start starts the responder, which must have all its ports.
func (l *lab) start() *Responder {
	l.Helper()
	r, err := Start(l.cfg)
	l.must(err)
	l.Cleanup(r.Close)
	for _, problem := range r.Problems() {
		l.Errorf("a problem: %v", problem)
	}
	return r
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// in runs f in the guest's namespace.
func (l *lab) in(f func()) {
	l.Helper()
	netlab.In(l, l.guest, func() error { f(); return nil })
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// guestUDP returns a socket of the guest's on host0.
func (l *lab) guestUDP(network, at string) *net.UDPConn {
	l.Helper()
	var conn *net.UDPConn
	l.in(func() {
		addr, err := net.ResolveUDPAddr(network, at)
		l.must(err)
		conn, err = net.ListenUDP(network, addr)
		l.must(err)
		raw, err := conn.SyscallConn()
		l.must(err)
		l.must(raw.Control(func(fd uintptr) {
			l.must(unix.BindToDevice(int(fd), "host0"))
			l.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		}))
	})
	l.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends message to at, until there is an answer, which it returns.
func (l *lab) exchange(conn *net.UDPConn, message []byte, at *net.UDPAddr) []byte {
	l.Helper()
	return l.exchangeFor(conn, message, at, func([]byte) bool { return true })
}

// exchangeFor passes over answers that are not wanted, such as late ones.
func (l *lab) exchangeFor(conn *net.UDPConn, message []byte, at *net.UDPAddr, wanted func([]byte) bool) []byte {
	l.Helper()
	buffer := make([]byte, bufferSize)
	for range 20 {
		_, err := conn.WriteTo(message, at)
		l.must(err)
		l.must(conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)))
		for {
			n, _, err := conn.ReadFrom(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			l.must(err)
			if wanted(buffer[:n]) {
				return buffer[:n]
			}
		}
	}
	l.Fatal("there is no answer")
	return nil
}

// silent fails the test if there is an answer within a moment.
func (l *lab) silent(conn *net.UDPConn, message []byte, at *net.UDPAddr) {
	l.Helper()
	_, err := conn.WriteTo(message, at)
	l.must(err)
	l.must(conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)))
	buffer := make([]byte, bufferSize)
	if n, from, err := conn.ReadFrom(buffer); err == nil {
		l.Errorf("%d bytes came from %v, want no answer", n, from)
	}
}

// interfaceIndex is a zone for addresses in the namespace that it is called in.
func interfaceIndex(name string) string { return fmt.Sprint(interfaceByName(name).Index) }

func addAddress(l *lab, link netlink.Link, p netip.Prefix) error {
	return l.inner.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)})
}

// descriptors counts those of this process.
func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}
