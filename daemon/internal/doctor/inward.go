package doctor

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/machd/machd/pkg/machd"
)

// checkInward tries each service of the host that the machine is to find at its
// gateway.
func checkInward(ctx context.Context, p *patient) (found []finding, applies bool) {
	gateway := p.gateway4()
	if _, _, ok := p.bothEnds(); !ok || len(p.net.Inward) == 0 || !gateway.IsValid() {
		return nil, false
	}
	for _, port := range p.net.Inward[:min(len(p.net.Inward), maxPorts)] {
		found = append(found, p.tryInward(ctx, port, netip.AddrPortFrom(gateway, port.Guest))...)
	}
	return found, true
}

// tryInward follows a packet of the machine to a service of the host.
func (p *patient) tryInward(ctx context.Context, port machd.Port, at netip.AddrPort) []finding {
	what := fmt.Sprintf("the machine does not find port %d/%s of the host at %s", port.Host, port.Protocol, at)
	j, f, err := p.followFromInside(ctx, protocolNumber(port.Protocol), p.address(true), at)
	if err != nil {
		return unknown(fmt.Sprintf("port %d of the host", port.Host), err)
	}
	if e, failed := p.explain(j, f, p.net.Link, fmt.Sprintf("%d/%s", port.Host, port.Protocol)); failed {
		return []finding{trouble(what, e.why, e.command)}
	}
	if j.to.Port() != port.Host {
		return []finding{p.ours(trouble(what, fmt.Sprintf("No rule leads there: it gets to %s.", j.to), "nft list table inet machd"))}
	}
	if here, err := p.cfg.Host.listeners(port.Protocol); err == nil && len(here[port.Host]) == 0 {
		return []finding{doubt(fmt.Sprintf("nobody on the host listens on port %d/%s, which the machine is to find at %s", port.Host, port.Protocol, at),
			"The service has not started, or listens on another port.", "ss -lnp")}
	}
	return nil
}

// gateway4 is the host's IPv4 address on the machine's link.
func (p *patient) gateway4() netip.Addr {
	for _, g := range p.net.Gateways {
		if g.Is4() {
			return g
		}
	}
	return netip.Addr{}
}
