package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// checkSender tries whether the host lets in what the machine sends from addresses
// that it has beside those it should have.
func checkSender(ctx context.Context, p *patient) (found []finding, applies bool) {
	host, guest, ok := p.bothEnds()
	if !ok || !p.net.Managed || p.net.Kind != machd.LinkVeth {
		return nil, false
	}
	g, _ := p.guest() // bothEnds has it
	tried := 0
	for _, a := range g.addrs[guest.Index] {
		is := func(own netip.Prefix) bool { return own.Addr() == a.Addr() }
		to := slices.IndexFunc(p.net.Gateways, func(gateway netip.Addr) bool { return gateway.Is4() == a.Addr().Is4() })
		if a.duplicate || !a.Addr().IsGlobalUnicast() || slices.ContainsFunc(p.net.Addresses, is) || to < 0 || tried == maxAddresses {
			continue
		}
		tried++
		j, _, err := p.followFromInside(ctx, unix.IPPROTO_TCP, a.Addr(), netip.AddrPortFrom(p.net.Gateways[to], 99))
		if err != nil {
			return append(found, unknown("what the host lets in", err)...), true
		}
		if !j.delivered() {
			found = append(found, p.notLetIn(host.Name, a.Prefix))
		}
	}
	return found, tried > 0
}

// notLetIn is about an address of the machine that the host wants to hear nothing
// from.
func (p *patient) notLetIn(link string, a netip.Prefix) finding {
	what := fmt.Sprintf("the machine has the address %s, too, and what it sends from there is dropped", a)
	h, _ := p.links()
	elsewhere := h.foreign(p.ownLinks())
	for name, other := range p.attachments {
		for _, x := range other.Addresses {
			if name != p.Name {
				elsewhere = append(elsewhere, holder{"machine " + name, x})
			}
		}
	}
	for _, x := range elsewhere {
		if x.prefix.Contains(a.Addr()) {
			return doubt(what, fmt.Sprintf("The host knows that address by %s, and hears it from nobody else.", x.name), "")
		}
	}
	given := func(own address) bool { return own.Contains(a.Addr()) }
	if index := h.named(link).Attrs().Index; slices.ContainsFunc(h.addrs[index], given) {
		return doubt(what, "The host has an address in that network on the link, but would send answers elsewhere.", "ip route get "+a.Addr().String())
	}
	return doubt(what, fmt.Sprintf("From %s come the addresses that machd gave, and those of networks that the host has an address of its own in there.", link),
		fmt.Sprintf("ip addr add %s dev %s", netip.PrefixFrom(neighbourOf(a), a.Bits()), link))
}
