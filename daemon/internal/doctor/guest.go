package doctor

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/proc"
)

// readGuest reads the links of a machine, which may have made any number of
// them, of addresses and of routes: package link reads a limited part of those.
func readGuest(leader *proc.PIDFD) (*links, error) {
	s, err := link.Of(leader)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found, err := s.Links()
	if err != nil {
		return nil, err
	}
	addresses, err := s.Addresses()
	if err != nil {
		return nil, err
	}
	routes, err := s.Routes()
	if err != nil {
		return nil, err
	}
	l := &links{addrs: map[int][]address{}}
	for _, x := range found {
		a := netlink.LinkAttrs{Index: x.Index, Name: x.Name, MTU: x.MTU, MasterIndex: x.Master, HardwareAddr: x.MAC}
		if x.Up {
			a.Flags |= net.FlagUp
		}
		l.all = append(l.all, &netlink.Device{LinkAttrs: a})
	}
	for _, x := range addresses {
		l.addrs[x.Link] = append(l.addrs[x.Link], address{x.Prefix, x.Duplicate})
	}
	for _, x := range routes {
		if x.Table == mainTable && x.Dst.Bits() == 0 && x.Type == unix.RTN_UNICAST {
			l.routes = append(l.routes, defaultRoute(x))
		}
	}
	return l, nil
}

func defaultRoute(r link.Route) netlink.Route {
	family := netlink.FAMILY_V6
	if r.Dst.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	return netlink.Route{LinkIndex: r.Link, Family: family, Gw: r.Via.AsSlice(), Table: mainTable}
}
