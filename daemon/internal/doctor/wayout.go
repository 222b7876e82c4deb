package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// somewhere are hosts far away, at addresses that are kept for documentation.
// Nothing is ever sent there: the packets end where they would leave the host.
var somewhere = []netip.AddrPort{
	netip.MustParseAddrPort("198.51.100.1:443"),
	netip.MustParseAddrPort("192.0.2.1:443"),
	netip.MustParseAddrPort("203.0.113.1:443"),
	netip.MustParseAddrPort("[2001:db8:ffff::1]:443"),
	netip.MustParseAddrPort("[3fff::1]:443"),
}

// far returns one of them that is not in a network of this host's.
func (l *links) far(ipv4 bool) (netip.AddrPort, bool) {
	near := l.foreign(nil)
	for _, to := range somewhere {
		if to.Addr().Is4() == ipv4 && !slices.ContainsFunc(near, func(h holder) bool { return h.prefix.Contains(to.Addr()) }) {
			return to, true
		}
	}
	return netip.AddrPort{}, false
}

// checkWayOut follows a packet of the machine on its way out of the host.
func checkWayOut(ctx context.Context, p *patient) (found []finding, applies bool) {
	if _, _, ok := p.bothEnds(); !ok || p.net.Kind == "bridge" {
		return nil, false
	}
	h, _ := p.links()
	for _, a := range p.net.Addresses {
		_, out := h.hasDefault(a.Addr().Is4(), 0)
		to, ok := h.far(a.Addr().Is4())
		if !out || !ok {
			continue // the host has no way out either
		}
		applies = true
		found = append(found, p.wayOut(ctx, a.Addr(), to)...)
	}
	return found, applies
}

func (p *patient) wayOut(ctx context.Context, from netip.Addr, to netip.AddrPort) []finding {
	j, f, err := p.followFromInside(ctx, unix.IPPROTO_TCP, from, to)
	if err != nil {
		return unknown("the way out", err)
	}
	if e, failed := p.explain(j, f, p.net.Link, ""); failed {
		x := trouble(fmt.Sprintf("the machine does not get out of the host by %s", family(from.Is4())), e.why, e.command)
		if e.ours {
			x = p.ours(x)
		}
		return []finding{x}
	}
	if j.from.Addr() == from && from.IsPrivate() {
		return []finding{p.ours(trouble(
			fmt.Sprintf("packets of the machine leave the host with its address %s, to which nobody out there can answer", from),
			"No rule puts the host's address in its place (masquerade).", "nft list table inet machd"))}
	}
	return nil
}

// followFromInside follows a packet that the machine's link sends to the host.
func (p *patient) followFromInside(ctx context.Context, protocol uint8, from netip.Addr, to netip.AddrPort) (*journey, flow, error) {
	t, err := p.tracer()
	if err != nil {
		return nil, flow{}, err
	}
	host, guest, ok := p.bothEnds()
	if !ok {
		return nil, flow{}, errGone
	}
	kind := etherType(from)
	link, err := p.inside.tapOn(guest.Index, kind)
	if err != nil {
		return nil, flow{}, err
	}
	defer link.close()
	f := flow{protocol, netip.AddrPortFrom(from, t.source()), to}
	j, err := t.follow(ctx, f, func(packet []byte) error {
		return link.send(frame(host.HardwareAddr, guest.HardwareAddr, kind, packet))
	})
	return j, f, err
}
