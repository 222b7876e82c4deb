package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

const (
	// maxPorts is how many ports of a machine are tried, and maxAddresses how
	// many addresses of the host for each.
	maxPorts, maxAddresses = 16, 4
	// connectLimit is how long a service may take to accept a connection.
	connectLimit = time.Second
)

var errGone = errors.New("the machine's link has gone")

// A way is one by which a published port is to be reached.
type way struct {
	text string
	in   string // the link by which packets come in, "" for the host's own
	from netip.Addr
	to   netip.Addr
}

// checkPorts tries each published port by each way to it.
func checkPorts(ctx context.Context, p *patient) (found []finding, applies bool) {
	if _, _, ok := p.bothEnds(); !ok || len(p.net.Ports) == 0 {
		return nil, false
	}
	ports := p.net.Ports
	if len(ports) > maxPorts {
		ports = ports[:maxPorts]
	}
	results := make([][]finding, len(ports))
	var wait sync.WaitGroup
	for i, port := range ports {
		wait.Go(func() { results[i] = p.tryPort(ctx, port) })
	}
	wait.Wait()
	return slices.Concat(results...), true
}

// tryPort tries one port.
func (p *patient) tryPort(ctx context.Context, port machd.Port) (found []finding) {
	if who, ok := p.shadowed(port); ok {
		found = append(found, doubt(fmt.Sprintf("port %s of the host leads to the machine, and %s listens there, too", port, who),
			"That program is never asked: whoever connects gets the machine.", fmt.Sprintf("ss -lnp sport = :%d", port.Host)))
	}
	if h, _ := p.links(); port.Address.IsValid() && !h.has(port.Address) {
		found = append(found, doubt(fmt.Sprintf("port %s is published at an address that no link of the host has", port),
			"Nobody gets there before one has it.", fmt.Sprintf("machctl port remove %s %s", p.Name, port)))
	}
	if p.net.Kind == machd.LinkBridge && port.Address.IsValid() && port.Address.IsLoopback() {
		found = append(found, doubt(fmt.Sprintf("port %s is published at an address that leads into no bridge of somebody's", port),
			"Such ports answer at the host's other addresses only.", fmt.Sprintf("machctl port remove %s %s", p.Name, port)))
	}
	hears := p.hears(port)
	if len(hears) == 0 {
		found = append(found, doubt(fmt.Sprintf("nobody in the machine listens on port %d/%s, to which port %d of the host leads", port.Guest, port.Protocol, port.Host),
			"The service there has not started, or listens on another port.", p.within("ss -lnp")))
	} else if !slices.ContainsFunc(hears, func(a netip.Addr) bool { return !a.IsLoopback() }) {
		found = append(found, trouble(fmt.Sprintf("the service on port %d/%s of the machine listens on %s only", port.Guest, port.Protocol, joined(hears)),
			"Nobody outside the machine reaches that; it has to listen on the machine's address, or on all.", p.within("ss -lnp")))
		return found
	}
	ways := p.ways(port)
	results := make([][]finding, len(ways))
	var wait sync.WaitGroup
	for i, w := range ways {
		wait.Go(func() {
			f, err := p.tryWay(ctx, port, w, len(hears) > 0)
			if err != nil {
				f = unknown(fmt.Sprintf("port %s at %s", port, w.text), err)
			}
			results[i] = f
		})
	}
	wait.Wait()
	return append(found, slices.Concat(results...)...)
}

// ways are all by which a port is to be reached. In a bridge of somebody's a
// machine has no link that we open: it is not reached by the loopback's addresses,
// and from outside if the host forwards anyway.
func (p *patient) ways(port machd.Port) (all []way) {
	h, _ := p.links()
	for _, a := range p.net.Addresses {
		is4 := a.Addr().Is4()
		if port.Address.IsValid() && port.Address.Is4() != is4 {
			continue
		}
		loopback := netip.IPv6Loopback()
		if is4 {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		others := p.net.Kind == machd.LinkBridge
		var candidates []way
		if !others {
			candidates = []way{{loopback.String(), "", loopback, loopback}}
		}
		for _, own := range h.own(is4) {
			candidates = append(candidates, way{fmt.Sprintf("the host's own address %s", own.addr.Addr()), "", own.addr.Addr(), own.addr.Addr()})
			if own.running && !(others && len(p.forwardsNot(is4, []string{own.link})) > 0) {
				candidates = append(candidates,
					way{fmt.Sprintf("%s, from others on %s", own.addr.Addr(), own.link), own.link, neighbourOf(own.addr), own.addr.Addr()})
			}
		}
		for _, w := range candidates {
			if !port.Address.IsValid() || port.Address == w.to {
				all = append(all, w)
			}
		}
	}
	return all
}

// has reports whether the host takes what is sent to an address.
func (l *links) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return a.Is4() || a == netip.IPv6Loopback()
	}
	for _, list := range l.addrs {
		if slices.ContainsFunc(list, func(own address) bool { return own.Addr() == a }) {
			return true
		}
	}
	return false
}

type ownAddress struct {
	link    string
	addr    netip.Prefix
	running bool // packets can come in by the link
}

// own returns addresses that others reach the host at.
func (l *links) own(ipv4 bool) (list []ownAddress) {
	for _, link := range l.all {
		a := link.Attrs()
		if a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0 || ofMachine(a.Name) {
			continue
		}
		comesIn := a.Flags&net.FlagRunning != 0 && a.OperState != netlink.OperDown && len(a.HardwareAddr) == 6
		for _, addr := range l.addrs[a.Index] {
			if addr.Addr().Is4() == ipv4 && addr.Addr().IsGlobalUnicast() && len(list) < maxAddresses {
				list = append(list, ownAddress{a.Name, addr.Prefix, comesIn})
			}
		}
	}
	return list
}

// neighbourOf returns an address of somebody else in the network of p.
func neighbourOf(p netip.Prefix) netip.Addr {
	if p.Bits() >= p.Addr().BitLen()-1 {
		return p.Addr().Next()
	}
	if n := p.Masked().Addr().Next(); n != p.Addr() {
		return n
	}
	return p.Addr().Next()
}

// tryWay follows a packet by one way, and connects by it if somebody is there to
// answer.
func (p *patient) tryWay(ctx context.Context, port machd.Port, w way, connect bool) ([]finding, error) {
	t, err := p.tracer()
	if err != nil {
		return nil, err
	}
	f := flow{protocolNumber(port.Protocol), netip.AddrPortFrom(w.from, t.source()), netip.AddrPortFrom(w.to, port.Host)}
	j, err := t.follow(ctx, f, func(packet []byte) error { return p.sendBy(t, w, packet) })
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("port %s does not lead to the machine at %s", port, w.text)
	if e, failed := p.explain(j, f, w.in, ""); failed {
		x := trouble(what, e.why, e.command)
		if e.ours {
			x = p.ours(x)
		}
		return []finding{x}, nil
	}
	if j.to == f.to {
		return []finding{p.ours(trouble(what, takenByHost, "nft list table inet machd"))}, nil
	}
	if want := netip.AddrPortFrom(p.address(w.to.Is4()), port.Guest); j.to != want {
		return []finding{p.ours(trouble(what, fmt.Sprintf("It leads to %s, and not to %s.", j.to, want), "nft list table inet machd"))}, nil
	}
	if !connect || port.Protocol != machd.TCP || w.in != "" {
		return nil, nil
	}
	conn, err := p.cfg.Host.dial(ctx, "tcp", f.to, connectLimit)
	if err == nil {
		conn.Close()
		return nil, nil
	}
	what = fmt.Sprintf("port %s does not answer at %s", port, w.text)
	if w.to == netip.IPv6Loopback() && p.net.Kind == machd.LinkZone {
		const filter = "bridge/bridge-nf-call-ip6tables"
		if on, _ := p.cfg.Host.sysctl(p.cfg.Paths.Sysctl, filter); on == "1" {
			return []finding{doubt(what, "What crosses a bridge goes through the rules of IP, as docker has it, where answers to ::1 are lost. All other addresses of the host lead to the machine.",
				"sysctl -w net/"+filter+"=0")}, nil
		}
	}
	if w.to == netip.IPv6Loopback() && !p.returnsLoopback() {
		return []finding{p.noLoopback(what)}, nil
	}
	return []finding{trouble(what, p.whyNoAnswer(err, j), p.within("nft list ruleset"))}, nil
}

// returnsLoopback reports whether there is the route that lets answers to ::1 in
// by the machine's link, which the kernel takes for strangers' otherwise.
func (p *patient) returnsLoopback() bool {
	host, _, ok := p.bothEnds()
	k, err := p.cfg.Host.kernel()
	if !ok || err != nil {
		return true // nothing is known
	}
	defer k.Close()
	const localTable = 255
	routes, err := undisturbed(func() ([]netlink.Route, error) {
		return k.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{
			LinkIndex: host.Index, Table: localTable, Dst: &net.IPNet{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	})
	return err != nil || len(routes) > 0
}

// noLoopback is about a port that does not answer for lack of that route, as the
// kernel removes it if the link goes down for a moment.
func (p *patient) noLoopback(what string) finding {
	return p.ours(trouble(what, "The machine's answers to ::1 are dropped for lack of a route.",
		fmt.Sprintf("ip -6 route append local ::1 dev %s table local metric 1024", p.net.Link)))
}

func (p *patient) whyNoAnswer(err error, j *journey) string {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "The machine refuses the connection: its own firewall, or the service."
	case j.from.Addr().IsLoopback():
		return fmt.Sprintf("Packets reach the machine as ones from %s, which it cannot answer: no rule puts the host's address in its place (masquerade).", j.from.Addr())
	}
	return "Packets reach the machine's link; the machine drops them or its answers are lost. It may have a firewall of its own."
}

// sendBy puts a packet on its way.
func (p *patient) sendBy(t *tracer, w way, packet []byte) error {
	if w.in == "" {
		return p.cfg.Host.sendRaw(w.to, packet)
	}
	h, err := p.links()
	if err != nil {
		return err
	}
	link := h.named(w.in).Attrs()
	return t.injectors.inject(link.Index, frame(link.HardwareAddr, link.HardwareAddr, etherType(w.to), packet))
}

// address is the machine's of one family.
func (p *patient) address(ipv4 bool) netip.Addr {
	for _, a := range p.net.Addresses {
		if a.Addr().Is4() == ipv4 {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

func protocolNumber(p machd.Protocol) uint8 {
	if p == machd.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// hears returns the addresses that a service of the machine listens on.
func (p *patient) hears(port machd.Port) []netip.Addr {
	all, _ := p.inside.listeners(port.Protocol)
	return all[port.Guest]
}

// shadowed tells who of the host listens on a port that leads to the machine.
func (p *patient) shadowed(port machd.Port) (who string, yes bool) {
	all, _ := p.cfg.Host.listeners(port.Protocol)
	for _, addr := range all[port.Host] {
		if !port.Address.IsValid() || addr.IsUnspecified() || addr == port.Address {
			return "a program on " + netip.AddrPortFrom(addr, port.Host).String(), true
		}
	}
	return "", false
}
