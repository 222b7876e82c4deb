package link

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Routes returns the routes of all tables of the namespace, at most maxItems of
// a family. A route that has several ways is there once for each.
func (s *Space) Routes() ([]Route, error) {
	var all []Route
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := s.routes(family, unix.RTPROT_UNSPEC)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// routes returns the routes of a family, made by who protocol says, or anybody.
func (s *Space) routes(family, protocol byte) ([]Route, error) {
	header := make(part, unix.SizeofRtMsg)
	header[0], header[5] = family, protocol
	found, err := list(s, request{unix.NETLINK_ROUTE, unix.RTM_GETROUTE, 0,
		[]nl.NetlinkRequestData{header}}, maxItems, func(body []byte) ([]Route, bool) {
		// A kernel without the family tells the routes of all others.
		if len(body) == 0 || body[0] != family {
			return nil, false
		}
		return parseRoute(body)
	})
	if isOneOf(err, unix.EOPNOTSUPP, unix.EAFNOSUPPORT) {
		return nil, nil // the kernel does not have the family
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	return slices.Concat(found...), nil
}

// parseRoute reads an RTM_NEWROUTE. What is only remembered of a destination
// that was used is no route.
func parseRoute(body []byte) ([]Route, bool) {
	if len(body) < unix.SizeofRtMsg {
		return nil, false
	}
	family, bits := body[0], int(body[1])
	r := Route{Table: int(body[4]), Protocol: int(body[5]), Type: int(body[7])}
	flags := order.Uint32(body[8:])
	if flags&unix.RTM_F_CLONED != 0 {
		return nil, false
	}
	var dst, several []byte
	for kind, value := range attributes(body[unix.SizeofRtMsg:]) {
		switch {
		case kind == unix.RTA_DST:
			dst = value
		case kind == unix.RTA_MULTIPATH:
			several = value
		case kind == unix.RTA_TABLE && len(value) == 4:
			r.Table = int(order.Uint32(value))
		case kind == unix.RTA_PRIORITY && len(value) == 4:
			r.Metric = int(order.Uint32(value))
		case kind == unix.RTA_OIF && len(value) == 4:
			r.Link = int(order.Uint32(value))
		default:
			r.setVia(kind, value)
		}
	}
	addr, ok := netip.AddrFromSlice(dst)
	if !ok {
		addr = unspecified(family == unix.AF_INET)
	}
	r.Dst = netip.PrefixFrom(addr, bits)
	r.OnLink = flags&unix.RTNH_F_ONLINK != 0
	if several == nil {
		return []Route{r}, r.Dst.IsValid()
	}
	var ways []Route
	for way := range nextHops(several) {
		one := r
		one.Link, one.OnLink = way.link, way.flags&unix.RTNH_F_ONLINK != 0
		for kind, value := range attributes(way.attributes) {
			one.setVia(kind, value)
		}
		ways = append(ways, one)
	}
	return ways, r.Dst.IsValid()
}

// setVia takes the next router from an attribute, if it is about it. The router
// of an IPv4 route may have an IPv6 address.
func (r *Route) setVia(kind uint16, value []byte) {
	if kind == unix.RTA_VIA && len(value) > 2 {
		kind, value = unix.RTA_GATEWAY, value[2:]
	}
	if kind == unix.RTA_GATEWAY {
		r.Via, _ = netip.AddrFromSlice(value)
	}
}

type nextHop struct {
	link       int
	flags      uint8
	attributes []byte
}

// nextHops returns the ways of an RTA_MULTIPATH, a list of struct rtnexthop.
func nextHops(b []byte) iter.Seq[nextHop] {
	return func(yield func(nextHop) bool) {
		for len(b) >= unix.SizeofRtNexthop {
			size := int(order.Uint16(b))
			if size < unix.SizeofRtNexthop || size > len(b) {
				return
			}
			hop := nextHop{int(order.Uint32(b[4:])), b[2], b[unix.SizeofRtNexthop:size]}
			if !yield(hop) {
				return
			}
			b = b[min(len(b), (size+unix.RTNH_ALIGNTO-1)&^(unix.RTNH_ALIGNTO-1)):]
		}
	}
}

func unspecified(is4 bool) netip.Addr {
	if is4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// changeRoute adds or deletes r, as kind says.
func (s *Space) changeRoute(kind, flags int, r Route) error {
	family, table, scope, bits := byte(unix.AF_INET), r.Table, byte(unix.RT_SCOPE_UNIVERSE), byte(r.Dst.Bits())
	if r.Dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	routeType := r.Type
	if routeType == 0 {
		routeType = unix.RTN_UNICAST
	}
	if !r.Via.IsValid() && family == unix.AF_INET {
		scope = unix.RT_SCOPE_LINK
	}
	protocol := r.Protocol
	if protocol == 0 {
		protocol = unix.RTPROT_STATIC
	}
	header := make(part, unix.SizeofRtMsg)
	copy(header, []byte{family, bits, 0, 0, unix.RT_TABLE_UNSPEC, byte(protocol), scope, byte(routeType)})
	if r.OnLink {
		order.PutUint32(header[8:], unix.RTNH_F_ONLINK)
	}
	parts := []nl.NetlinkRequestData{header,
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(table))),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Link))),
	}
	if bits > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice()))
	}
	if r.Via.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	if r.Metric != 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Metric))))
	}
	return s.change(kind, flags, parts...)
}
