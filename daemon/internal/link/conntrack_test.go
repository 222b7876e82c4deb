package link_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/test/need"
)

// published is what leads to the machine of a site, and is tracked.
const published = `
table inet t {
	chain pre {
		type nat hook prerouting priority dstnat
		meta nfproto ipv4 tcp dport { 8080, 8081 } dnat ip to 10.0.1.2:80
		meta nfproto ipv6 tcp dport { 8080, 8081 } dnat ip6 to [fd00:1::2]:80
	}
	chain forward {
		type filter hook forward priority filter
		ct state established accept
	}
}`

// newPublishedSite returns a site whose ports 8080 and 8081 lead to port 80 of
// its machine, which sends back what it gets.
func newPublishedSite(t *testing.T) site {
	t.Helper()
	must(t, need.Programs(t.Context(), os.Stderr, "nft"))
	s := newSite(t)
	enable(t, s.forwarder(t))
	s.host.nft(published)
	s.machine.listen("[::]:80")
	return s
}

func (n space) nft(script string) {
	n.tb.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(script), os.Stderr
	must(n.tb, n.Inside(cmd.Run))
}

// talk connects the router to a port of the host's.
func (s site) talk(t *testing.T, at string) net.Conn {
	t.Helper()
	conn, err := s.router.dial(netip.MustParseAddrPort(at), patience)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	if !answers(conn, patience) {
		t.Fatalf("%s does not answer", at)
	}
	return conn
}

func answers(conn net.Conn, timeout time.Duration) bool {
	conn.SetDeadline(time.Now().Add(timeout))
	_, err := fmt.Fprint(conn, "x")
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return err == nil
}

func TestConnectionsOfAPortEnd(t *testing.T) {
	t.Parallel()
	for _, family := range []struct {
		host, other, machine string
		others               int // connections that have nothing to do with it
	}{
		{"192.0.2.2", "192.0.2.3", "10.0.1.2", 0},
		{"2001:db8::2", "2001:db8::3", "fd00:1::2", 0},
		{"192.0.2.2", "192.0.2.3", "10.0.1.2", 6000},
		{"2001:db8::2", "2001:db8::3", "fd00:1::2", 6000},
	} {
		t.Run(fmt.Sprint(family.machine, " among ", family.others), func(t *testing.T) {
			t.Parallel()
			s := newPublishedSite(t)
			must(t, s.host.Inside(func() error { return sendMany(family.others) }))
			at := func(addr string, port uint16) netip.AddrPort {
				return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
			}
			var ended []net.Conn
			for range 3 {
				ended = append(ended, s.talk(t, at(family.host, 8080).String()))
			}
			other := s.talk(t, at(family.host, 8081).String())
			s.host.nft("flush chain inet t pre")
			// A connection outlives the rule that it came by.
			if !answers(ended[0], patience) {
				t.Fatal("it has ended by itself")
			}
			all := netip.AddrPortFrom(netip.Addr{}, 8080)
			to := at(family.machine, 80)
			for _, port := range []link.Forwarded{
				{Protocol: unix.IPPROTO_UDP, At: all, To: to},
				{Protocol: unix.IPPROTO_TCP, At: at(family.other, 8080), To: to},
				{Protocol: unix.IPPROTO_TCP, At: all, To: at(family.machine, 81)},
				{Protocol: unix.IPPROTO_TCP, At: at("192.0.2.2", 8082), To: to},
			} {
				if n, err := s.host.DropConnections(port); n != 0 || err != nil {
					t.Errorf("%v ends %d connections, %v", port, n, err)
				}
			}
			n, err := s.host.DropConnections(link.Forwarded{Protocol: unix.IPPROTO_TCP, At: all, To: to})
			if n != 3 || err != nil {
				t.Errorf("%d connections ended, %v; want 3", n, err)
			}
			for _, conn := range ended {
				if answers(conn, never) {
					t.Error("a connection goes on")
				}
			}
			if !answers(other, patience) {
				t.Error("another port's connection has ended")
			}
			n, err = s.host.DropConnections(link.Forwarded{Protocol: unix.IPPROTO_TCP, At: at(family.host, 8081), To: to})
			if n != 1 || err != nil {
				t.Errorf("%d connections of one address ended, %v; want 1", n, err)
			}
			if answers(other, never) {
				t.Error("it goes on")
			}
		})
	}
}

func TestConnectionsOfAnAddressEnd(t *testing.T) {
	t.Parallel()
	s := newPublishedSite(t)
	inward, other := s.talk(t, "192.0.2.2:8080"), s.talk(t, "[2001:db8::2]:8080")
	at := s.router.listen("192.0.2.1:0")
	outward, err := s.machine.dial(at, patience)
	must(t, err)
	defer outward.Close()
	n, err := s.host.DropAddresses(netip.MustParseAddr("10.0.1.2"))
	if n != 2 || err != nil {
		t.Errorf("%d connections ended, %v; want 2", n, err)
	}
	if n, err = s.host.DropAddresses(netip.MustParseAddr("10.0.1.2")); n != 0 || err != nil {
		t.Errorf("%d more ended, %v", n, err)
	}
	s.host.nft("flush chain inet t pre")
	if answers(inward, never) || !answers(other, patience) {
		t.Error("the wrong one has ended")
	}
}

func BenchmarkConnectionsEnd(b *testing.B) {
	for _, others := range []int{10, 20_000} {
		b.Run(fmt.Sprint(others, " others"), func(b *testing.B) {
			host := newSpace(b, 0)
			must(b, need.Programs(b.Context(), os.Stderr, "nft"))
			host.nft("table inet t {\nchain c {\n type filter hook output priority 0; ct state new accept\n}\n}")
			must(b, host.Inside(func() error { return sendMany(others) }))
			to := netip.MustParseAddrPort("10.0.1.2:80")
			for b.Loop() {
				_, err := host.DropConnections(link.Forwarded{Protocol: unix.IPPROTO_TCP, At: netip.AddrPortFrom(netip.Addr{}, 80), To: to})
				must(b, err)
			}
		})
	}
}

// sendMany has the kernel remember that many exchanges of UDP.
func sendMany(n int) error {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := range n {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, byte(i>>8), byte(i)), Port: 9}
		conn.WriteTo([]byte("x"), to) // refused, which does not matter
	}
	return nil
}
