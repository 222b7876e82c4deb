package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/machd/machd/pkg/machd"
)

// checkLink looks whether both ends of the machine's link are there and up.
func checkLink(_ context.Context, p *patient) (found []finding, applies bool) {
	if p.err != nil {
		return unknown("its network", p.err), true
	}
	for _, problem := range p.net.Problems {
		found = append(found, doubt(problem, "It came up when the machine's network was made.", ""))
	}
	if !p.linked() {
		return found, len(found) > 0
	}
	host, guest, err := p.ends()
	if err != nil {
		return append(found, unknown("its link", err)...), true
	}
	if host == nil {
		found = append(found, trouble(fmt.Sprintf("the host has no link %s", p.net.Link),
			"Somebody has removed or renamed it.", "machctl reboot "+p.Name))
	} else if host.Attrs().Flags&net.FlagUp == 0 {
		found = append(found, p.down(p.net.Link))
	}
	if p.net.Port != "" {
		found = append(found, p.port(host)...)
	}
	switch {
	case guest == nil:
		found = append(found, trouble(fmt.Sprintf("the machine has no link %s", p.net.guestLink()),
			"Somebody in it has removed or renamed it.", "machctl reboot "+p.Name))
	case guest.Attrs().Flags&net.FlagUp == 0:
		found = append(found, trouble(fmt.Sprintf("%s is down in the machine", p.net.guestLink()),
			"Somebody in it has switched it off.", p.within("ip link set "+p.net.guestLink()+" up")))
	case len(p.net.MAC) > 0 && guest.Attrs().HardwareAddr.String() != p.net.MAC.String():
		found = append(found, doubt(fmt.Sprintf("%s has the hardware address %s in the machine, and not %s", p.net.guestLink(), guest.Attrs().HardwareAddr, p.net.MAC),
			"Somebody in it has changed it: by DHCP it gets no address any more.",
			p.within(fmt.Sprintf("ip link set %s address %s", p.net.guestLink(), p.net.MAC))))
	}
	return found, true
}

// down is about a link of the host that is switched off.
func (p *patient) down(name string) finding {
	f := trouble(name+" is down", "Somebody has switched it off; nothing passes.", "ip link set "+name+" up")
	if p.net.Kind == machd.LinkBridge || name == p.net.Port {
		return f // which we switch on nowhere
	}
	return p.ours(f)
}

// port looks at the machine's port of the bridge.
func (p *patient) port(bridge netlink.Link) []finding {
	h, err := p.links()
	if err != nil {
		return nil // was told
	}
	port := h.named(p.net.Port)
	switch {
	case port == nil:
		return []finding{trouble(fmt.Sprintf("the host has no link %s", p.net.Port),
			"Somebody has removed or renamed it.", "machctl reboot "+p.Name)}
	case port.Attrs().Flags&net.FlagUp == 0:
		return []finding{p.down(p.net.Port)}
	case bridge != nil && port.Attrs().MasterIndex != bridge.Attrs().Index:
		return []finding{trouble(fmt.Sprintf("%s is not in the bridge %s", p.net.Port, p.net.Link),
			"Somebody has taken it out, so the machine is alone.", fmt.Sprintf("ip link set %s master %s", p.net.Port, p.net.Link))}
	}
	return nil
}

// checkAddress looks whether each end has the addresses it should have.
func checkAddress(_ context.Context, p *patient) (found []finding, applies bool) {
	host, guest, ok := p.bothEnds()
	if !ok {
		return nil, false
	}
	h, _ := p.links() // bothEnds has them
	g, _ := p.guest()
	for _, want := range p.net.Addresses {
		i := slices.IndexFunc(g.addrs[guest.Index], func(a address) bool { return a.Addr() == want.Addr() })
		switch {
		case i < 0:
			found = append(found, trouble(
				fmt.Sprintf("%s has not the address %s in the machine, but %s", guest.Name, want.Addr(), joined(g.addrs[guest.Index])),
				p.whyNoAddress(want.Addr()), p.within(fmt.Sprintf("ip addr add %s dev %s", want, guest.Name))))
		case g.addrs[guest.Index][i].duplicate:
			found = append(found, trouble(fmt.Sprintf("the machine does not use its address %s", want.Addr()),
				"Somebody else on the link has it.", "ip neigh show "+want.Addr().String()))
		}
	}
	if len(p.net.Addresses) == 0 && !slices.ContainsFunc(g.addrs[guest.Index], func(a address) bool { return a.Addr().IsGlobalUnicast() }) {
		found = append(found, doubt(guest.Name+" has no address in the machine", p.whyUnmanaged(), ""))
	}
	if p.net.Kind == machd.LinkBridge {
		return found, true // gateways are others' there
	}
	for _, gateway := range p.net.Gateways {
		if slices.ContainsFunc(h.addrs[host.Index], func(a address) bool { return a.Addr() == gateway }) {
			continue
		}
		found = append(found, p.noGateway(host, gateway))
	}
	return found, true
}

func (p *patient) whyNoAddress(addr netip.Addr) string {
	if addr.Is6() {
		if off, _ := p.inside.sysctl(p.cfg.Paths.Sysctl, "ipv6/conf/"+p.net.guestLink()+"/disable_ipv6"); off == "1" {
			return "IPv6 is switched off in the machine (disable_ipv6)."
		}
	}
	return "Something in the machine has taken it off, or wants another; asking by DHCP it would get this one."
}

func (p *patient) whyUnmanaged() string {
	if p.net.By != "" {
		return "It is up to " + p.net.By + " to give it one."
	}
	return "Nobody gives it one: machd was told not to."
}

// noGateway is about an address of the host's end that is not there.
func (p *patient) noGateway(host *netlink.LinkAttrs, gateway netip.Addr) finding {
	bits := gateway.BitLen()
	for _, a := range p.net.Addresses {
		if a.Contains(gateway) {
			bits = a.Bits()
		}
	}
	return p.ours(trouble(fmt.Sprintf("%s has not the address %s, which is the machine's gateway", host.Name, gateway),
		"Somebody has taken it off, as a network manager does that thinks the link is its own.",
		fmt.Sprintf("ip addr add %s dev %s", netip.PrefixFrom(gateway, bits), host.Name)))
}

// checkRoute looks whether the machine has a way out.
func checkRoute(_ context.Context, p *patient) (found []finding, applies bool) {
	_, guest, ok := p.bothEnds()
	if !ok || len(p.net.Gateways) == 0 {
		return nil, false
	}
	g, _ := p.guest()
	for _, gateway := range p.net.Gateways {
		if _, ok := g.hasDefault(gateway.Is4(), guest.Index); ok {
			continue
		}
		why := "It reaches nothing but the host. Something in it has removed the route."
		if other, ok := g.hasDefault(gateway.Is4(), 0); ok {
			why = fmt.Sprintf("It goes out by another link, to %s.", other)
		}
		found = append(found, trouble(fmt.Sprintf("the machine has no default route of %s by %s", family(gateway.Is4()), guest.Name), why,
			p.within(fmt.Sprintf("ip route add default via %s dev %s", gateway, guest.Name))))
	}
	return found, true
}

// checkMTU looks whether all that can be sent in also passes.
func checkMTU(_ context.Context, p *patient) (found []finding, applies bool) {
	host, guest, ok := p.bothEnds()
	if !ok {
		return nil, false
	}
	h, _ := p.links()
	if host.MTU != guest.MTU {
		found = append(found, trouble(fmt.Sprintf("packets of %s may have %d bytes, those of %s in the machine %d", host.Name, host.MTU, guest.Name, guest.MTU),
			"Connections hang as soon as they send much: what is too large for the other end is dropped without a word.",
			p.within(fmt.Sprintf("ip link set %s mtu %d", guest.Name, host.MTU))))
	}
	for _, r := range h.routes {
		out := h.index(r.LinkIndex)
		if !isDefault(r) || out == nil || out.Attrs().MTU >= guest.MTU {
			continue
		}
		o := out.Attrs()
		found = append(found, doubt(fmt.Sprintf("packets of the machine may have %d bytes, those that go out by %s only %d", guest.MTU, o.Name, o.MTU),
			"It is told by ICMP to send smaller ones; where that is filtered, connections hang.",
			fmt.Sprintf("ip link set %s mtu %d; %s", host.Name, o.MTU, p.within(fmt.Sprintf("ip link set %s mtu %d", guest.Name, o.MTU)))))
		break
	}
	return found, true
}

// checkReturn looks whether packets for the machine are sent to it.
func checkReturn(_ context.Context, p *patient) (found []finding, applies bool) {
	host, _, ok := p.bothEnds()
	if !ok || len(p.net.Addresses) == 0 || p.net.Kind == machd.LinkBridge {
		return nil, false
	}
	k, err := p.cfg.Host.kernel()
	if err != nil {
		return unknown("the host's routes", err), true
	}
	defer k.Close()
	h, _ := p.links()
	for _, a := range p.net.Addresses {
		routes, err := k.RouteGet(a.Addr().AsSlice())
		switch {
		case err != nil:
			found = append(found, trouble(fmt.Sprintf("the host has no route to %s, an address of the machine", a.Addr()),
				fmt.Sprintf("The kernel says: %v.", err), fmt.Sprintf("ip route add %s dev %s", a.Masked(), host.Name)))
		case len(routes) > 0 && routes[0].LinkIndex != host.Index:
			other := h.nameOf(routes[0].LinkIndex)
			why := fmt.Sprintf("Another network of the host has that address, too: look at \"ip route get %s\" and \"ip rule\".", a.Addr())
			if p.strict(host.Name) {
				why += " What the machine sends is dropped as well, because rp_filter is strict on " + host.Name + "."
			}
			found = append(found, trouble(fmt.Sprintf("packets for %s, an address of the machine, go to %s and not to %s", a.Addr(), other, host.Name),
				why, fmt.Sprintf("ip route replace %s dev %s", netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), host.Name)))
		}
	}
	return found, true
}

// strict reports whether packets that come in by a link are dropped if answers
// would leave by another one.
func (p *patient) strict(link string) bool {
	all, _ := p.cfg.Host.sysctl(p.cfg.Paths.Sysctl, "ipv4/conf/all/rp_filter")
	own, _ := p.cfg.Host.sysctl(p.cfg.Paths.Sysctl, "ipv4/conf/"+link+"/rp_filter")
	return max(all, own) == "1"
}
