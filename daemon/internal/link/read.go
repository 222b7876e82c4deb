package link

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Link is one network interface.
type Link struct {
	Index    int
	Name     string
	AltNames []string
	Kind     string // of its driver, such as veth or bridge; "" for a real device
	Master   int    // index of the bridge that it is a port of, 0 if none
	MTU      int
	Up       bool // switched on
	Carrier  bool // the other end is, too
	MAC      net.HardwareAddr
	Peer     int  // index of the other end of a veth, or of what the link lies on; 0 if none
	PeerNS   bool // Peer is in another namespace
	Addrs    []netip.Prefix
}

// An Address is one address of a link.
type Address struct {
	Link       int          // index
	Prefix     netip.Prefix // the address, with the length of its network
	Network    netip.Prefix // what the link leads to by it: that of the peer, if it has one
	Scope      uint8        // unix.RT_SCOPE_UNIVERSE and the like
	Tentative  bool         // not used yet: others are still asked whether they have it
	Duplicate  bool         // another one has it, so it is not used
	Deprecated bool
	Permanent  bool // nobody has to renew it, as one has to that was learned on the link
}

// A Route is one way to a destination.
type Route struct {
	Dst      netip.Prefix
	Via      netip.Addr // the zero Addr if the destination is on the link
	Link     int        // index, 0 if it leads nowhere
	OnLink   bool       // Via is on the link, whatever its addresses say
	Metric   int        // 0 is the kernel's choice
	Table    int        // 0 is the main one
	Protocol int        // who made it: unix.RTPROT_…
	Type     int        // unix.RTN_…; 0 is RTN_UNICAST
}

// A Neighbour is who has an address on a link, as far as the kernel knows.
type Neighbour struct {
	Link  int // index
	Addr  netip.Addr
	MAC   net.HardwareAddr // nil if nobody has answered
	State int              // unix.NUD_…
}

const (
	// rtextFilterSkipStats leaves out the counters of links.
	rtextFilterSkipStats = 1 << 3
	sizeofNdmsg          = 12
)

// Links returns the links of the namespace with their addresses, at most
// maxItems of either.
func (s *Space) Links() ([]Link, error) {
	links, err := list(s, request{unix.NETLINK_ROUTE, unix.RTM_GETLINK, 0, []nl.NetlinkRequestData{
		part(make([]byte, unix.SizeofIfInfomsg)), nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextFilterSkipStats)),
	}}, maxItems, parseLink)
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	return links, s.addAddresses(links)
}

// Link returns the link that has name as its name or as another one of its
// names. The error wraps ErrNoLink if there is none.
func (s *Space) Link(name string) (Link, error) {
	l, err := s.oneLink(0, byName(name))
	if err != nil {
		return Link{}, fmt.Errorf("cannot find link %q: %w", name, err)
	}
	return l, nil
}

// byName asks for the link that has name as one of its names.
func byName(name string) nl.NetlinkRequestData {
	kind := unix.IFLA_IFNAME
	if len(name) >= unix.IFNAMSIZ {
		kind = unix.IFLA_ALT_IFNAME
	}
	return nl.NewRtAttr(kind, nl.ZeroTerminated(name))
}

// ByIndex returns the link of an index. The error wraps ErrNoLink if there is
// none.
func (s *Space) ByIndex(index int) (Link, error) {
	l, err := s.oneLink(index)
	if err != nil {
		return Link{}, fmt.Errorf("cannot find link %d: %w", index, err)
	}
	return l, nil
}

func (s *Space) oneLink(index int, name ...nl.NetlinkRequestData) (Link, error) {
	l, err := s.bareLink(index, name...)
	if err != nil {
		return Link{}, err
	}
	one := []Link{l}
	err = s.addAddresses(one)
	return one[0], err
}

// bareLink is oneLink without the addresses.
func (s *Space) bareLink(index int, name ...nl.NetlinkRequestData) (l Link, err error) {
	header := make(part, unix.SizeofIfInfomsg)
	order.PutUint32(header[4:], uint32(index))
	parts := append([]nl.NetlinkRequestData{
		header, nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextFilterSkipStats)),
	}, name...)
	found := false
	err = s.ask(request{unix.NETLINK_ROUTE, unix.RTM_GETLINK, 0, parts}, func(body []byte) bool {
		l, found = parseLink(body)
		return false
	})
	if isOneOf(err, unix.ENODEV) || err == nil && !found {
		err = ErrNoLink
	}
	return l, err
}

func (s *Space) addAddresses(links []Link) error {
	addresses, err := s.Addresses()
	if err != nil {
		return err
	}
	of := make(map[int]*Link, len(links))
	for i := range links {
		of[links[i].Index] = &links[i]
	}
	for _, a := range addresses {
		if l := of[a.Link]; l != nil {
			l.Addrs = append(l.Addrs, a.Prefix)
		}
	}
	return nil
}

// Addresses returns the addresses of the namespace, at most maxItems.
func (s *Space) Addresses() ([]Address, error) {
	found, err := list(s, request{unix.NETLINK_ROUTE, unix.RTM_GETADDR, 0,
		[]nl.NetlinkRequestData{part(make([]byte, unix.SizeofIfAddrmsg))}}, maxItems, parseAddress)
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	return found, nil
}

// Neighbours returns who is known on the links of the namespace, at most
// maxItems.
func (s *Space) Neighbours() ([]Neighbour, error) {
	found, err := list(s, request{unix.NETLINK_ROUTE, unix.RTM_GETNEIGH, 0,
		[]nl.NetlinkRequestData{part(make([]byte, sizeofNdmsg))}}, maxItems, parseNeighbour)
	if err != nil {
		return nil, fmt.Errorf("cannot list neighbours: %w", err)
	}
	return found, nil
}

func parseLink(body []byte) (Link, bool) {
	if len(body) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	flags := order.Uint32(body[8:])
	l := Link{
		Index: int(order.Uint32(body[4:])),
		Up:    flags&unix.IFF_UP != 0, Carrier: flags&unix.IFF_LOWER_UP != 0,
	}
	for kind, value := range attributes(body[unix.SizeofIfInfomsg:]) {
		switch {
		case kind == unix.IFLA_IFNAME:
			l.Name = text(value)
		case kind == unix.IFLA_MASTER && len(value) == 4:
			l.Master = int(order.Uint32(value))
		case kind == unix.IFLA_MTU && len(value) == 4:
			l.MTU = int(order.Uint32(value))
		case kind == unix.IFLA_LINK && len(value) == 4:
			l.Peer = int(order.Uint32(value))
		case kind == unix.IFLA_LINK_NETNSID:
			l.PeerNS = true
		case kind == unix.IFLA_ADDRESS:
			l.MAC = value
		case kind == unix.IFLA_LINKINFO:
			l.Kind = text(first(value, unix.IFLA_INFO_KIND))
		case kind == unix.IFLA_PROP_LIST:
			for inner, value := range attributes(value) {
				if inner == unix.IFLA_ALT_IFNAME {
					l.AltNames = append(l.AltNames, text(value))
				}
			}
		}
	}
	return l, true
}

func parseAddress(body []byte) (Address, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	bits, flags := int(body[1]), uint32(body[2])
	a := Address{Link: int(order.Uint32(body[4:])), Scope: body[3]}
	var local, remote []byte
	for kind, value := range attributes(body[unix.SizeofIfAddrmsg:]) {
		switch {
		case kind == unix.IFA_LOCAL:
			local = value
		case kind == unix.IFA_ADDRESS:
			remote = value
		case kind == unix.IFA_FLAGS && len(value) == 4:
			flags = order.Uint32(value)
		}
	}
	if local == nil {
		local = remote
	}
	if remote == nil {
		remote = local
	}
	addr, ok := netip.AddrFromSlice(local)
	a.Prefix = netip.PrefixFrom(addr, bits)
	peer, _ := netip.AddrFromSlice(remote)
	a.Network = netip.PrefixFrom(peer, bits).Masked()
	a.Tentative = flags&unix.IFA_F_TENTATIVE != 0
	a.Duplicate = flags&unix.IFA_F_DADFAILED != 0
	a.Deprecated = flags&unix.IFA_F_DEPRECATED != 0
	a.Permanent = flags&unix.IFA_F_PERMANENT != 0
	return a, ok && a.Prefix.IsValid()
}

func parseNeighbour(body []byte) (Neighbour, bool) {
	if len(body) < sizeofNdmsg {
		return Neighbour{}, false
	}
	n := Neighbour{Link: int(order.Uint32(body[4:])), State: int(order.Uint16(body[8:]))}
	ok := false
	for kind, value := range attributes(body[sizeofNdmsg:]) {
		switch kind {
		case unix.NDA_DST:
			n.Addr, ok = netip.AddrFromSlice(value)
		case unix.NDA_LLADDR:
			n.MAC = value
		}
	}
	return n, ok && n.State != unix.NUD_NOARP
}

// first returns the value of the first attribute of a kind, nil if there is
// none.
func first(b []byte, wanted uint16) []byte {
	for kind, value := range attributes(b) {
		if kind == wanted {
			return value
		}
	}
	return nil
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
