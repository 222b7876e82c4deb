package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Forwarded is a port whose packets are sent on to another one.
type Forwarded struct {
	Protocol uint8          // unix.IPPROTO_TCP or IPPROTO_UDP
	At       netip.AddrPort // where they come in; the zero Addr is every address
	To       netip.AddrPort
}

// Messages and attributes of connection tracking.
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaOriginal, ctaReply, ctaID, ctaZone          = 1, 2, 12, 18
	ctaAddresses, ctaPorts                         = 1, 2       // of a direction
	ctaSource4, ctaTarget4, ctaSource6, ctaTarget6 = 1, 2, 3, 4 // of its addresses
	ctaProtocol, ctaSourcePort, ctaDestinationPort = 1, 2, 3
	ctaFilter, ctaOriginalFlags, ctaReplyFlags     = 25, 1, 2
	filterSource                                   = 1 << 0 // by the address that packets are from
	sizeofNfgenmsg                                 = 4
)

// A connection is one that the kernel knows of.
type connection struct {
	protocol uint8
	from, at netip.AddrPort // as the first packet had them
	answerer netip.AddrPort // who answers: another one than at, if it was sent on
	family   byte
	original []byte // from and at, for the kernel
	id, zone []byte
}

// DropConnections ends the connections that came by ports, and returns how many
// there were. What they were sent on to is not told; it sees a connection that
// goes nowhere any more.
//
// The kernel looks through its whole table for that, which takes 10 ms even if
// there is hardly a connection.
func (s *Space) DropConnections(ports ...Forwarded) (int, error) {
	wanted := make(map[Forwarded]bool, len(ports))
	var ways []way
	for _, p := range ports {
		wanted[p] = true
		if w := (way{ctaReply, p.To.Addr()}); !slices.Contains(ways, w) {
			ways = append(ways, w)
		}
	}
	return s.drop(ways, func(c connection) bool {
		one := Forwarded{c.protocol, c.at, c.answerer}
		all := Forwarded{c.protocol, netip.AddrPortFrom(netip.Addr{}, c.at.Port()), c.answerer}
		return wanted[one] || wanted[all]
	})
}

// DropAddresses ends the connections from and to addresses, and returns how many
// there were. Whoever has one of them next is not taken for who had it. It takes
// as long as DropConnections.
func (s *Space) DropAddresses(addrs ...netip.Addr) (int, error) {
	var ways []way
	for _, addr := range addrs {
		ways = append(ways, way{ctaOriginal, addr}, way{ctaReply, addr})
	}
	return s.drop(ways, func(c connection) bool {
		return slices.Contains(addrs, c.from.Addr()) || slices.Contains(addrs, c.answerer.Addr())
	})
}

// A way is which connections to look at: those whose packets in one direction,
// ctaOriginal or ctaReply, are from an address.
type way struct {
	direction int
	from      netip.Addr
}

// drop ends the connections that are meant, all of which go one of the ways.
func (s *Space) drop(ways []way, isMeant func(connection) bool) (int, error) {
	found, err := s.connections(ways, isMeant)
	if err != nil {
		return 0, fmt.Errorf("cannot list connections: %w", err)
	}
	n := 0
	for _, c := range found {
		err := s.dropOne(c)
		if errors.Is(err, unix.ENOENT) {
			continue // it has ended
		}
		if err != nil {
			return n, fmt.Errorf("cannot end the connection from %s to %s: %w", c.from, c.at, err)
		}
		n++
	}
	return n, nil
}

// connections returns the connections that are meant. It has the kernel look
// through its table once, and tell all; or, if that is much, once for each way.
func (s *Space) connections(ways []way, isMeant func(connection) bool) ([]connection, error) {
	const (
		much    = 5000
		noLimit = 0 // there are as many as the kernel was allowed to remember
	)
	count, err := s.sysctl("net/netfilter/nf_conntrack_count")
	if errors.Is(err, fs.ErrNotExist) || count == "0" {
		return nil, nil
	}
	questions := [][]nl.NetlinkRequestData{{part{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}}}
	if n, err := strconv.Atoi(count); err == nil && n > much {
		questions = nil
		for _, w := range ways {
			questions = append(questions, w.only())
		}
	}
	var all []connection
	for _, parts := range questions {
		found, err := list(s, request{unix.NETLINK_NETFILTER, ctGet, 0, parts}, noLimit,
			func(body []byte) (connection, bool) {
				c, ok := parseConnection(body)
				return c, ok && isMeant(c)
			})
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// only asks the kernel to tell no others. One before Linux 5.8 tells all of the
// family, as we ask of every one for IPv6: that comparison is the wrong way round
// in Linux 6.18, and who knows since when.
func (w way) only() []nl.NetlinkRequestData {
	if w.from.Is6() {
		return []nl.NetlinkRequestData{part{unix.AF_INET6, unix.NFNETLINK_V0, 0, 0}}
	}
	flags := ctaReplyFlags
	if w.direction == ctaOriginal {
		flags = ctaOriginalFlags
	}
	packets := nl.NewRtAttr(w.direction|unix.NLA_F_NESTED, nil)
	packets.AddRtAttr(ctaAddresses|unix.NLA_F_NESTED, nil).AddRtAttr(ctaSource4, w.from.AsSlice())
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	filter.AddRtAttr(flags, nl.Uint32Attr(filterSource))
	return []nl.NetlinkRequestData{part{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, packets, filter}
}

func (s *Space) dropOne(c connection) error {
	parts := []nl.NetlinkRequestData{
		part{c.family, unix.NFNETLINK_V0, 0, 0},
		nl.NewRtAttr(ctaOriginal|unix.NLA_F_NESTED, c.original),
		nl.NewRtAttr(ctaID, c.id),
	}
	if c.zone != nil {
		parts = append(parts, nl.NewRtAttr(ctaZone, c.zone))
	}
	return s.ask(request{unix.NETLINK_NETFILTER, ctDelete, unix.NLM_F_ACK, parts},
		func([]byte) bool { return true })
}

func parseConnection(body []byte) (connection, bool) {
	if len(body) < sizeofNfgenmsg {
		return connection{}, false
	}
	c := connection{family: body[0]}
	for kind, value := range attributes(body[sizeofNfgenmsg:]) {
		switch kind {
		case ctaOriginal:
			c.original = value
			c.protocol, c.from, c.at = parseDirection(value)
		case ctaReply:
			_, c.answerer, _ = parseDirection(value)
		case ctaID:
			c.id = value
		case ctaZone:
			c.zone = value
		}
	}
	return c, c.original != nil && c.id != nil
}

// parseDirection reads a CTA_TUPLE_ORIG or CTA_TUPLE_REPLY.
func parseDirection(b []byte) (protocol uint8, source, target netip.AddrPort) {
	var from, to netip.Addr
	for kind, value := range attributes(first(b, ctaAddresses)) {
		switch kind {
		case ctaSource4, ctaSource6:
			from, _ = netip.AddrFromSlice(value)
		case ctaTarget4, ctaTarget6:
			to, _ = netip.AddrFromSlice(value)
		}
	}
	var fromPort, toPort uint16
	for kind, value := range attributes(first(b, ctaPorts)) {
		switch {
		case kind == ctaProtocol && len(value) == 1:
			protocol = value[0]
		case kind == ctaSourcePort && len(value) == 2:
			fromPort = binary.BigEndian.Uint16(value)
		case kind == ctaDestinationPort && len(value) == 2:
			toPort = binary.BigEndian.Uint16(value)
		}
	}
	return protocol, netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
}
