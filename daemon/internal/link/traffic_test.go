package link_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// never is how long it waits for what must not come.
const never = 300 * time.Millisecond

// listen makes a socket of TCP in the namespace that takes connections until the
// test ends, and sends back what comes.
func (n space) listen(address string) netip.AddrPort {
	n.tb.Helper()
	var listener net.Listener
	must(n.tb, n.Inside(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	}))
	n.tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.tb.Cleanup(func() { conn.Close() })
			// Not by splice, whose pipes Go keeps for later.
			go io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// dial connects from the namespace.
func (n space) dial(to netip.AddrPort, timeout time.Duration) (conn net.Conn, err error) {
	err = n.Inside(func() error {
		conn, err = net.DialTimeout("tcp", to.String(), timeout)
		return err
	})
	return conn, err
}

// connects reports whether a connection comes about in that time.
func connects(t *testing.T, from, to space, addr netip.Addr, within time.Duration) bool {
	t.Helper()
	at := to.listen(netip.AddrPortFrom(addr, 0).String())
	conn, err := from.dial(at, within)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// advertise sends what a router says, for a default route of that many seconds.
func (n space) advertise(name string, seconds int) {
	n.tb.Helper()
	var conn *ndp.Conn
	var err error
	// The link has an address to send from when the kernel has seen that the
	// other end is up.
	for deadline := time.Now().Add(patience); conn == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err = n.Inside(func() error {
			link, err := net.InterfaceByName(name)
			if err == nil {
				conn, _, err = ndp.Listen(link, ndp.LinkLocal)
			}
			return err
		})
	}
	must(n.tb, err)
	defer conn.Close()
	must(n.tb, conn.WriteTo(&ndp.RouterAdvertisement{
		CurrentHopLimit: 64, RouterLifetime: time.Duration(seconds) * time.Second,
	}, nil, netip.MustParseAddr("ff02::1")))
}

// hasRouterBy fails the test unless the default routes from routers are over a
// link, or there are none, soon.
func (n space) hasRouterBy(want string) {
	n.tb.Helper()
	n.waitsForRouter(want, func() {})
}

// hears has a router say that it is one, over its link of that name, until the
// default routes from routers are as wanted: before a link is ready it loses what
// comes.
func (n space) hears(router space, name, want string) {
	n.tb.Helper()
	n.waitsForRouter(want, func() { router.advertise(name, 1800) })
}

func (n space) waitsForRouter(want string, again func()) {
	n.tb.Helper()
	var got string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		again()
		if got = n.routersOver(); got == want {
			return
		}
	}
	n.tb.Errorf("routes from routers are over %q, want %q", got, want)
}

// routersOver returns the links that default routes from routers are over.
func (n space) routersOver() string {
	n.tb.Helper()
	routes, err := n.other.RouteList(nil, netlink.FAMILY_V6)
	must(n.tb, err)
	var over []string
	for _, r := range routes {
		if r.Protocol == unix.RTPROT_RA && r.Gw != nil {
			l, err := n.other.LinkByIndex(r.LinkIndex)
			must(n.tb, err)
			over = append(over, l.Attrs().Name)
		}
	}
	return strings.Join(over, " ")
}
