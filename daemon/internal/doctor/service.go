package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
)

const (
	// serviceLimit is how long the host may take to answer a machine, which
	// happens in the host.
	serviceLimit = 700 * time.Millisecond
	// dnsLimit has room for a server elsewhere.
	dnsLimit = 800 * time.Millisecond
	dnsPort  = 53
)

// checkDHCP asks for an address as the machine's own client would, and takes
// none.
func checkDHCP(ctx context.Context, p *patient) (found []finding, applies bool) {
	_, guest, ok := p.bothEnds()
	want := p.address(true)
	if !ok || !p.net.Managed || p.net.Kind == "bridge" || !want.IsValid() {
		return nil, false
	}
	offered, err := p.inside.discover(ctx, guest.Index, guest.HardwareAddr)
	const matters = "Clients in machines, such as systemd-networkd, take off every address that they did not get by DHCP."
	switch {
	case err != nil:
		return unknown("DHCP", err), true
	case !offered.IsValid():
		found = append(found, trouble("nobody answers the machine by DHCP", matters, "systemctl restart machd"))
	case offered != want:
		found = append(found, trouble(fmt.Sprintf("by DHCP the machine is offered %s, and not its own address %s", offered, want),
			"Another server answers on its link, as systemd-networkd on the host does if it manages the link.", "networkctl status "+p.net.Link))
	}
	return found, true
}

// discover returns the address that is offered to a hardware address on a link,
// none if nobody answers.
func (s *Space) discover(ctx context.Context, index int, mac net.HardwareAddr) (offered netip.Addr, err error) {
	question, err := dhcpv4.NewDiscovery(mac)
	if err != nil {
		return offered, err
	}
	question.SetBroadcast()
	t, err := s.tapOn(index, unix.ETH_P_IP)
	if err != nil {
		return offered, err
	}
	defer t.close()
	body := question.ToBytes()
	datagram := binary.BigEndian.AppendUint16(nil, 68)
	datagram = binary.BigEndian.AppendUint16(datagram, 67)
	datagram = append(binary.BigEndian.AppendUint16(datagram, uint16(8+len(body))), 0, 0)
	packet := ipPacket(unix.IPPROTO_UDP, netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), hopLimit, append(datagram, body...), 6)
	err = t.ask(ctx, frame(everybody, mac, unix.ETH_P_IP, packet), serviceLimit, func(f []byte) bool {
		const headers = 14 + 20 + 8
		if len(f) < headers || f[14] != 0x45 || f[23] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(f[34:]) != 67 {
			return false
		}
		answer, err := dhcpv4.FromBytes(f[headers:])
		if err != nil || answer.TransactionID != question.TransactionID || answer.MessageType() != dhcpv4.MessageTypeOffer {
			return false
		}
		offered, _ = netip.AddrFromSlice(answer.YourIPAddr.To4())
		return true
	})
	return offered, err
}

// checkRouter asks for a router, as the kernel and clients of IPv6 do.
func checkRouter(ctx context.Context, p *patient) (found []finding, applies bool) {
	_, guest, ok := p.bothEnds()
	if !ok || !p.net.Managed || p.net.Kind == "bridge" || !p.address(false).IsValid() {
		return nil, false
	}
	answered, err := p.inside.solicitRouter(ctx, guest.Index, guest.HardwareAddr)
	if err != nil {
		return unknown("the router of IPv6", err), true
	}
	if !answered {
		found = append(found, doubt("no router answers the machine by IPv6",
			"Clients in machines learn by that to ask for their address; the daemon may answer rarely only.", "systemctl restart machd"))
	}
	return found, true
}

var allRouters = netip.MustParseAddr("ff02::2")

func (s *Space) solicitRouter(ctx context.Context, index int, mac net.HardwareAddr) (answered bool, err error) {
	t, err := s.tapOn(index, unix.ETH_P_IPV6)
	if err != nil {
		return false, err
	}
	defer t.close()
	// As one who has no address yet: of routable ones answers are not due.
	body := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	packet := ipPacket(unix.IPPROTO_ICMPV6, netip.IPv6Unspecified(), allRouters, noHopLimit, body, 2)
	to := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}
	err = t.ask(ctx, frame(to, mac, unix.ETH_P_IPV6, packet), serviceLimit, func(f []byte) bool {
		answered = answered || len(f) > 14+40 && f[14+6] == unix.IPPROTO_ICMPV6 && f[14+40] == 134
		return answered
	})
	return answered, err
}

// checkDNS asks the gateway for a name as the machine would, and looks whom the
// machine asks.
func checkDNS(ctx context.Context, p *patient) (found []finding, applies bool) {
	if _, _, ok := p.bothEnds(); !ok || !p.net.Managed || p.net.Kind == "bridge" || len(p.net.Gateways) == 0 {
		return nil, false
	}
	found = p.resolvConf()
	answers := make([][]finding, len(p.net.Gateways))
	var failed atomic.Bool
	var wait sync.WaitGroup
	for i, gateway := range p.net.Gateways {
		wait.Go(func() {
			code, err := p.inside.askDNS(ctx, netip.AddrPortFrom(gateway, dnsPort))
			if err != nil {
				answers[i] = []finding{p.noDNS(ctx, gateway)}
			} else if code == dnsmessage.RCodeServerFailure {
				failed.Store(true)
			}
		})
	}
	wait.Wait()
	found = append(found, slices.Concat(answers...)...)
	if failed.Load() && p.single && !p.resolves() { // of all machines it is told once
		found = append(found, noNames(p.cfg.Paths.Resolv))
	}
	return found, true
}

// checkNames looks whether the host itself can look up names, if machines ask it.
func checkNames(_ context.Context, v *visit) (found []finding, applies bool) {
	if !v.anyManaged() {
		return nil, false
	}
	if !v.resolves() {
		found = append(found, noNames(v.cfg.Paths.Resolv))
	}
	return found, true
}

func noNames(resolv string) finding {
	return doubt("no name server of the host answers", "The daemon passes machines' questions on to those of "+resolv+".", "cat "+resolv)
}

// hostResolves reports whether a name server of the host answers, whatever it
// says.
func (d *Doctor) hostResolves() bool {
	ctx, cancel := context.WithTimeout(context.Background(), dnsLimit)
	defer cancel()
	text, _ := os.ReadFile(d.cfg.Paths.Resolv)
	servers := nameServers(string(text))
	answers := make(chan bool)
	for _, server := range servers {
		go func() {
			_, err := d.cfg.Host.askDNS(ctx, netip.AddrPortFrom(server, dnsPort))
			answers <- err == nil
		}()
	}
	any := false
	for range servers {
		any = <-answers || any
	}
	return any
}

// noDNS is about a gateway that does not answer questions.
func (p *patient) noDNS(ctx context.Context, gateway netip.Addr) finding {
	what := fmt.Sprintf("%s does not answer the machine's questions for names", gateway)
	j, f, err := p.followFromInside(ctx, unix.IPPROTO_UDP, p.address(gateway.Is4()), netip.AddrPortFrom(gateway, dnsPort))
	if err == nil {
		if e, failed := p.explain(j, f, p.net.Link, "53/udp"); failed {
			return trouble(what, e.why, e.command)
		}
	}
	return trouble(what, "Nobody listens there; the daemon should.", "systemctl restart machd")
}

// askDNS asks for the servers of the root, which every server knows.
func (s *Space) askDNS(ctx context.Context, server netip.AddrPort) (code dnsmessage.RCode, err error) {
	id := uint16(rand.Uint32())
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}},
	}
	packed, err := question.Pack()
	if err != nil {
		return 0, err
	}
	conn, err := s.dial(ctx, "udp", server, dnsLimit)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(dnsLimit))
	if _, err := conn.Write(packed); err != nil {
		return 0, err
	}
	buffer := make([]byte, maxFrame)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return 0, err
		}
		var parser dnsmessage.Parser
		if header, err := parser.Start(buffer[:n]); err == nil && header.ID == id {
			return header.RCode, nil
		}
	}
}

// maxResolvConf is more than that file has.
const maxResolvConf = 64 << 10

// resolvConf looks whether the machine's programs know a server to ask.
func (p *patient) resolvConf() []finding {
	root, err := p.Leader.OpenRoot()
	if err != nil {
		return nil // it is ending
	}
	defer root.Close()
	text, err := rootfs.ReadFile(root, "/etc/resolv.conf", maxResolvConf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return unknown("/etc/resolv.conf of the machine", err)
	}
	servers := nameServers(string(text))
	edit := "machctl shell " + p.Name + " /bin/sh -c 'echo nameserver " + p.net.Gateways[0].String() + " > /etc/resolv.conf'"
	if len(servers) == 0 {
		return []finding{trouble("/etc/resolv.conf of the machine names no server", "Its programs cannot look up names.", edit)}
	}
	if slices.ContainsFunc(servers, func(a netip.Addr) bool { return !a.IsLoopback() }) {
		return nil
	}
	here, err := p.inside.listeners(machd.UDP)
	if err != nil || slices.ContainsFunc(here[dnsPort], func(a netip.Addr) bool { return a.IsUnspecified() || slices.Contains(servers, a) }) {
		return nil
	}
	return []finding{trouble(fmt.Sprintf("/etc/resolv.conf of the machine names %s, where nobody in it listens", joined(servers)),
		"Its programs cannot look up names. The file is the host's, or systemd-resolved does not run in the machine.", edit)}
}

func nameServers(text string) (servers []netip.Addr) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, addr)
		}
	}
	return servers
}
