package doctor

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// checkGuard tries whether the machine reaches what the host has for itself on
// 127.0.0.1, which ports that are published there may open.
func checkGuard(ctx context.Context, p *patient) (found []finding, applies bool) {
	if _, _, ok := p.bothEnds(); !ok || len(p.net.Addresses) == 0 {
		return nil, false
	}
	from := p.net.Addresses[0].Addr()
	if !from.Is4() {
		return nil, false
	}
	j, _, err := p.followFromInside(ctx, unix.IPPROTO_TCP, from, netip.MustParseAddrPort("127.0.0.1:99"))
	if err != nil {
		return unknown("whether the machine reaches the host's 127.0.0.1", err), true
	}
	if j.delivered() || j.left() {
		found = append(found, p.ours(trouble("the machine reaches programs that listen on the host's 127.0.0.1 only",
			fmt.Sprintf("route_localnet is on for %s, and no rule drops what comes from there for 127.0.0.0/8.", p.net.Link),
			"sysctl -w net/ipv4/conf/"+p.net.Link+"/route_localnet=0")))
	}
	return found, true
}
