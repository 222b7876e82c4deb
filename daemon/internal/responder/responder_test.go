package responder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

func TestStartNeedsItsLink(t *testing.T) {
	cfg := testConfig()
	cfg.Index = 9999
	if r, err := Start(cfg); !errors.Is(err, errNotThere) || !strings.Contains(err.Error(), cfg.Link) {
		t.Errorf("without the link: %v, %v; want that it is not there", r, err)
	}
	cfg.Gateway4, cfg.Gateway6 = gateway6, gateway4
	if r, err := Start(cfg); err == nil {
		r.Close()
		t.Error("the families of the gateways may be mixed up")
	}
}

// A link may have one family only.
func TestOneFamilyAlone(t *testing.T) {
	l := newLab(t)
	l.neighbour()
	l.configure()
	query := packQuery(t, "c1.", dnsmessage.TypeA, 0)
	discover := ask4(t, dhcpv4.MessageTypeDiscover).ToBytes()
	solicit := ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)).ToBytes()
	to6 := l.servers6()

	both := l.cfg
	l.cfg.Gateway6 = netip.Prefix{}
	r := l.start()
	l.resolve(l.guestUDP("udp4", "10.213.0.2:0"), query, dns4)
	client6 := l.guestUDP("udp6", "[::]:546")
	l.silent(client6, solicit, to6)
	r.Close()

	l.cfg = both
	l.cfg.Gateway4 = netip.Prefix{}
	l.start()
	l.resolve(l.guestUDP("udp6", "[fd30:1::2]:0"), query, dns6)
	l.silent(l.guestUDP("udp4", ":68"), discover, toServers4)
	l.exchange(client6, solicit, to6)
}

// A link may be without IPv6 although the host has it: the packets of this one
// are too short for it.
func TestLinkWithoutIPv6(t *testing.T) {
	l := newLab(t)
	l.configure()
	link, err := netlink.LinkByName(l.cfg.Link)
	l.must(err)
	l.must(netlink.LinkSetMTU(link, 1200))
	r, err := Start(l.cfg)
	l.must(err)
	defer r.Close()
	if got := fmt.Sprint(r.Problems()); !strings.Contains(got, "cannot answer over IPv6 on ve-c1") || len(r.Problems()) != 1 {
		t.Errorf("problems: %s", got)
	}
	l.resolve(l.guestUDP("udp4", "10.213.0.2:0"), packQuery(t, "c1.", dnsmessage.TypeA, 0), dns4)
	l.exchange(l.guestUDP("udp4", ":68"), ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)

	l.cfg.Gateway4 = netip.Prefix{}
	if r, err := Start(l.cfg); err == nil {
		r.Close()
		t.Error("a responder started that has nothing to answer")
	}
}

// A link may go down, and in the end it goes away before its responder does.
func TestLinkComesAndGoes(t *testing.T) {
	l := newLab(t)
	l.start()
	link, err := netlink.LinkByName(l.cfg.Link)
	l.must(err)
	l.must(netlink.LinkSetDown(link))
	l.must(netlink.LinkSetUp(link))
	l.awaitCarrier()
	l.neighbour() // waits for the guest's link-local address
	l.exchange(l.guestUDP("udp4", ":68"), ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)
	l.exchange(l.guestUDP("udp6", "[::]:546"), ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)).ToBytes(), l.servers6())

	l.must(netlink.LinkDel(link))
	const watched = 500 * time.Millisecond
	before := processorTime(t)
	time.Sleep(watched)
	if used := processorTime(t) - before; used > watched/5 {
		t.Errorf("without its link it took %v of processor time in %v", used, watched)
	}
}

func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// servers6 is where the guest's DHCPv6 client asks.
func (l *lab) servers6() *net.UDPAddr {
	to := &net.UDPAddr{IP: allDHCPServers.AsSlice(), Port: dhcp6ServerPort}
	l.in(func() { to.Zone = interfaceIndex("host0") })
	return to
}

// Where the host has a server of its own, that answers, and the rest is
// answered as ever.
func TestPortsOfOthers(t *testing.T) {
	l := newLab(t)
	l.configure()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: dnsPort})
	l.must(err)
	defer udp.Close()
	tcp, err := net.Listen("tcp4", "10.213.0.1:53")
	l.must(err)
	defer tcp.Close()
	l.cfg.Holder = func(network string, at netip.AddrPort) string {
		return "named (PID 7), as " + network + " " + at.String()
	}
	r, err := Start(l.cfg)
	l.must(err)
	defer r.Close()
	var got []string
	for _, problem := range r.Problems() {
		got = append(got, problem.Error())
		var port *PortError
		if !errors.As(problem, &port) || !errors.Is(problem, unix.EADDRINUSE) {
			t.Errorf("%v is no *PortError for a port that is in use", problem)
		}
	}
	want := []string{
		"cannot answer DNS at 10.213.0.1, udp port 53, on ve-c1: it is held by named (PID 7), as udp 10.213.0.1:53",
		"cannot answer DNS at 10.213.0.1, tcp port 53, on ve-c1: it is held by named (PID 7), as tcp 10.213.0.1:53",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	l.resolve(l.guestUDP("udp6", "[fd30:1::2]:0"), packQuery(t, "c1.", dnsmessage.TypeA, 0), dns6)
	l.exchange(l.guestUDP("udp4", ":68"), ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)
}

// A second server of DHCP on the link is no good, but no reason to be silent.
func TestAnotherServerOfDHCP(t *testing.T) {
	l := newLab(t)
	other, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", ":67")
	l.must(err)
	defer other.Close()
	r, err := Start(l.cfg)
	l.must(err)
	defer r.Close()
	if got := fmt.Sprint(r.Problems()); !strings.Contains(got, "cannot answer DHCPv4 alone at 0.0.0.0, udp port 67, on ve-c1") {
		t.Errorf("problems: %s", got)
	}
	l.exchange(l.guestUDP("udp4", ":68"), ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)
}

// A firewall of the host's that lets nothing in or out does not keep guests
// from their addresses.
func TestBehindFirewallOfTheHost(t *testing.T) {
	l := newLab(t)
	l.neighbour()
	l.configure()
	nft(t, `table inet wall {
		chain in { type filter hook input priority 0; policy drop; }
		chain out { type filter hook output priority 0; policy drop; }
	}`)
	t.Cleanup(func() { nft(t, "delete table inet wall") })
	l.start()
	l.silent(l.guestUDP("udp4", "10.213.0.2:0"), packQuery(t, "c1.", dnsmessage.TypeA, 0), dns4) // so there is a wall
	l.exchange(l.guestUDP("udp4", ":68"), ask4(t, dhcpv4.MessageTypeDiscover).ToBytes(), toServers4)
	l.exchange(l.guestUDP("udp6", "[::]:546"), ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)).ToBytes(), l.servers6())
	conn := l.neighbour()
	l.must(conn.WriteTo(routerSolicit, nil, allRouters))
	l.advertisement(conn, 5*time.Second)
}

func nft(tb testing.TB, script string) {
	tb.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("cannot change the firewall: %v\n%s", err, out)
	}
}

// Two guests of a zone are told apart by their MAC addresses.
func TestGuestsOfABridge(t *testing.T) {
	l := newLab(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "vz-lab"}}
	l.must(netlink.LinkAdd(bridge))
	t.Cleanup(func() { netlink.LinkDel(bridge) })
	port, err := netlink.LinkByName(l.cfg.Link)
	l.must(err)
	l.must(netlink.LinkSetMaster(port, bridge))
	l.must(netlink.LinkSetUp(bridge))
	l.cfg.Link, l.cfg.Index = "vz-lab", bridge.Attrs().Index
	l.cfg.Guest = func(mac net.HardwareAddr) (Guest, bool) {
		return Guest{Addr4: netip.AddrFrom4([4]byte{10, 213, 0, mac[5]})}, mac[5] != 9
	}
	l.start()
	conn := l.guestUDP("udp4", ":68")
	for _, last := range []byte{2, 3} {
		own := net.HardwareAddr{2, 0, 0, 0, 0, last}
		host0, err := l.inner.LinkByName("host0")
		l.must(err)
		l.must(l.inner.LinkSetHardwareAddr(host0, own))
		reply := l.exchange(conn, ask4(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(own)).ToBytes(), toServers4)
		if got := leaseOf(t, reply).Address; got != netip.AddrFrom4([4]byte{10, 213, 0, last}) {
			t.Errorf("%v gets %v", own, got)
		}
	}
}

// Close leaves nothing, also in the middle of everything.
func TestCloseLeavesNothing(t *testing.T) {
	l := newLab(t)
	l.upstream(l.startServer(silence).at)
	l.configure()
	query := packQuery(t, "www.example.org.", dnsmessage.TypeA, 0)
	client := l.guestUDP("udp4", "10.213.0.2:0")
	goroutines, open := runtime.NumGoroutine(), descriptors(t)
	for range 3 {
		r, err := Start(l.cfg)
		l.must(err)
		_, err = client.WriteTo(query, dns4)
		l.must(err)
		conn := l.dialTCP(dns4)
		l.must(writeMessage(conn, query))
		for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() < goroutines+2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody serves the connection")
			}
		}
		began := time.Now()
		r.Close()
		r.Close()
		if took := time.Since(began); took > patience {
			t.Errorf("closing took %v", took)
		}
		conn.Close()
	}
	l.nothingLeft(goroutines, open)
}

// nothingLeft waits until there are no more goroutines and descriptors than
// there were: those that end, and servers on the other side, may need a moment.
func (l *lab) nothingLeft(goroutines, open int) {
	l.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		g, d := runtime.NumGoroutine(), descriptors(l)
		if g <= goroutines && d <= open {
			return
		}
		if time.Now().After(deadline) {
			l.Fatalf("%d goroutines and %d descriptors are left, there were %d and %d", g, d, goroutines, open)
		}
	}
}

// A daemon with hundreds of machines ends all of it at once.
func TestCloseAll(t *testing.T) {
	l := newLab(t)
	goroutines, open := runtime.NumGoroutine(), descriptors(t)
	l.cfg.Gateway6 = netip.Prefix{}
	var all []*Responder
	for i := range 64 {
		// Each has an address of its own, since a port is had but once.
		l.cfg.Gateway4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, 1, byte(i)}), 30)
		r, err := Start(l.cfg)
		l.must(err)
		all = append(all, r)
	}
	all[0].Close()
	CloseAll(all)
	l.nothingLeft(goroutines, open)
	CloseAll(nil)
}

// The next daemon must not wait until connections of the one before are
// forgotten.
func TestStartAgainAtOnce(t *testing.T) {
	l := newLab(t)
	l.configure()
	for range 3 {
		r := l.start()
		conn := l.dialTCP(dns4)
		l.must(conn.SetDeadline(time.Now().Add(5 * time.Second)))
		l.must(writeMessage(conn, packQuery(t, "c1.", dnsmessage.TypeA, 0)))
		_, err := readMessage(conn, longestMessage)
		l.must(err)
		r.Close()
	}
}
