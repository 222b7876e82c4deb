package doctor

import (
	"context"
	"fmt"
	"strings"
)

// checkForwarding looks whether the kernel passes packets on between the
// machine's link and those that lead out.
func checkForwarding(_ context.Context, p *patient) (found []finding, applies bool) {
	host, _, ok := p.bothEnds()
	if !ok || len(p.net.Gateways) == 0 || p.net.Kind == "bridge" {
		return nil, false
	}
	h, _ := p.links()
	for _, gateway := range p.net.Gateways {
		outs := h.defaultLinks(gateway.Is4())
		if len(outs) == 0 {
			continue
		}
		applies = true
		off := p.forwardsNot(gateway.Is4(), append(outs, host.Name))
		if len(off) == 0 {
			continue
		}
		f := trouble(fmt.Sprintf("the kernel forwards no %s of %s", family(gateway.Is4()), strings.Join(off, ", ")),
			"The machine reaches the host only, and is reached from there only.", "sysctl -w "+strings.Join(switches(gateway.Is4(), off), " "))
		found = append(found, p.ours(f))
	}
	return found, applies
}

// ours has whoever gives the machine its network mend f, if that is us.
func (p *patient) ours(f finding) finding {
	if !p.net.Managed {
		return f
	}
	return f.mendedBy(p.mendNetwork)
}

func (v *visit) mendNetwork(ctx context.Context) error {
	_, err := v.cfg.Network.Mend(ctx)
	return err
}

// defaultLinks are the names of links that lead everywhere.
func (l *links) defaultLinks(ipv4 bool) (names []string) {
	for _, link := range l.all {
		if _, ok := l.hasDefault(ipv4, link.Attrs().Index); ok {
			names = append(names, link.Attrs().Name)
		}
	}
	return names
}

// forwardsNot returns those of the links that nothing is forwarded of.
func (p *patient) forwardsNot(ipv4 bool, names []string) (off []string) {
	on := func(name string) bool {
		value, _ := p.cfg.Host.sysctl(p.cfg.Paths.Sysctl, name)
		return value != "" && value != "0"
	}
	if !ipv4 && on("ipv6/conf/all/forwarding") {
		return nil
	}
	for _, name := range names {
		if !on(forwardingOf(ipv4, name)) {
			off = append(off, name)
		}
	}
	return off
}

// forwardingOf names the setting that says whether packets that come in by a
// link are forwarded. For IPv6 it is a recent one: "forwarding" of a link says
// only what it tells of itself.
func forwardingOf(ipv4 bool, link string) string {
	if ipv4 {
		return "ipv4/conf/" + link + "/forwarding"
	}
	return "ipv6/conf/" + link + "/force_forwarding"
}

func switches(ipv4 bool, names []string) (all []string) {
	for _, name := range names {
		all = append(all, "net/"+forwardingOf(ipv4, name)+"=1")
	}
	return all
}
