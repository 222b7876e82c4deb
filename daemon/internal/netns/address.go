package netns

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// maxAddresses and maxLinks bound what a machine can make us read.
	maxAddresses = 4096
	maxLinks     = 4096

	// hostLink is what systemd-nspawn calls the link to the host, inside.
	hostLink = "host0"
)

// An address is one usable address of a link.
type address struct {
	addr  netip.Addr
	scope uint8
	index uint32 // of the link
}

// A link is what decides how useful the addresses of a link are.
type link struct {
	index  uint32
	master uint32 // index of the bridge it is a port of, 0 if none
	name   string
	kind   string // of the driver, "" for real devices
	peer   nsid   // namespace of the other end, negative if it has none or it is the same
	toHost bool   // the other end is in our namespace
}

// parseAddress reads an RTM_NEWADDR. It is not ok for an address that is not
// to be shown.
//
// Reference: local-addresses.c, local_addresses.
func parseAddress(m message) (address, bool) {
	if len(m.body) < unix.SizeofIfAddrmsg {
		return address{}, false
	}
	family, flags, scope := m.body[0], uint32(m.body[2]), m.body[3]
	a := address{scope: scope, index: order.Uint32(m.body[4:])}
	var local, remote []byte
	for kind, value := range attributes(m.body[unix.SizeofIfAddrmsg:]) {
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
	if flags&(unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE) != 0 ||
		scope == unix.RT_SCOPE_HOST || scope == unix.RT_SCOPE_NOWHERE {
		return address{}, false
	}
	switch {
	case family == unix.AF_INET && len(local) == 4, family == unix.AF_INET6 && len(local) == 16:
		a.addr, _ = netip.AddrFromSlice(local)
		return a, true
	}
	return address{}, false
}

// parseLink reads an RTM_NEWLINK.
func parseLink(m message) (link, bool) {
	if len(m.body) < unix.SizeofIfInfomsg {
		return link{}, false
	}
	l := link{index: order.Uint32(m.body[4:]), peer: -1}
	for kind, value := range attributes(m.body[unix.SizeofIfInfomsg:]) {
		switch {
		case kind == unix.IFLA_IFNAME:
			l.name = text(value)
		case kind == unix.IFLA_MASTER && len(value) == 4:
			l.master = order.Uint32(value)
		case kind == unix.IFLA_LINK_NETNSID && len(value) == 4:
			l.peer = nsid(int32(order.Uint32(value)))
		case kind == unix.IFLA_LINKINFO:
			for inner, value := range attributes(value) {
				if inner == unix.IFLA_INFO_KIND {
					l.kind = text(value)
				}
			}
		}
	}
	return l, true
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func onSeveralLinks(list []address) bool {
	return slices.ContainsFunc(list, func(a address) bool { return a.index != list[0].index })
}

// sorted returns list in the order of usefulness, without duplicates. Links
// that are not known are all alike.
func sorted(list []address, links []link) []LinkAddress {
	ranks := ranksOf(links)
	slices.SortFunc(list, func(a, b address) int {
		return cmp.Or(
			cmp.Compare(family(a.addr), family(b.addr)),
			cmp.Compare(ranks[a.index], ranks[b.index]),
			cmp.Compare(isLinkLocal(a), isLinkLocal(b)),
			cmp.Compare(a.scope, b.scope),
			cmp.Compare(a.index, b.index),
			a.addr.Compare(b.addr),
		)
	})
	out := make([]LinkAddress, 0, len(list))
	for _, a := range list {
		out = append(out, LinkAddress{Index: int32(a.index), Addr: a.addr})
	}
	return slices.Compact(out)
}

// Ranks of links, the most useful first.
const (
	rankHostLink = iota - 2 // called host0, or the bridge it is a port of
	rankToHost              // another link whose other end is in our namespace
	rankOther               // also every link that is not known
	rankInner               // bridges and dummies: docker0 and the like
)

func ranksOf(links []link) map[uint32]int {
	ranks := make(map[uint32]int, len(links))
	for _, l := range links {
		ranks[l.index] = rankOf(l)
	}
	// Whoever reaches a port from the host reaches the bridge.
	for _, l := range links {
		if r := ranks[l.index]; l.master != 0 && r < ranks[l.master] {
			ranks[l.master] = r
		}
	}
	return ranks
}

func rankOf(l link) int {
	switch {
	case l.name == hostLink:
		return rankHostLink
	case l.toHost:
		return rankToHost
	case l.kind == "bridge" || l.kind == "dummy":
		return rankInner
	}
	return rankOther
}

func family(addr netip.Addr) int32 {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// isLinkLocal is a number for comparing: the kernel does not give every
// 169.254 address the scope of its link.
func isLinkLocal(a address) int {
	if a.addr.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}
