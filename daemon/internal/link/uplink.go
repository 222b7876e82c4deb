package link

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// loopback is the link of the host to itself.
const loopback = "lo"

// An Uplink is a link of the host's that leads elsewhere.
type Uplink struct {
	Link
	Default4, Default6 bool // a default route is over it
}

// Uplinks returns the links that lead elsewhere: they have an address that is
// good beyond the link, or a route leads over them. The loopback link, dummies
// and what is ours are none, nor is a port of a bridge, which is the uplink in
// its place.
func (s *Space) Uplinks(ours func(link string) bool) ([]Uplink, error) {
	links, err := s.Links()
	if err != nil {
		return nil, err
	}
	routes, err := s.Routes()
	if err != nil {
		return nil, err
	}
	var found []Uplink
	for _, l := range links {
		if l.Name == loopback || l.Kind == "dummy" || l.Master != 0 || ours(l.Name) {
			continue
		}
		up := Uplink{Link: l}
		leads := slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().IsGlobalUnicast() })
		for _, r := range routes {
			if r.Link != l.Index || r.Type != unix.RTN_UNICAST {
				continue
			}
			leads = leads || !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast()
			up.Default4 = up.Default4 || isDefault(r.Dst) && r.Dst.Addr().Is4()
			up.Default6 = up.Default6 || isDefault(r.Dst) && r.Dst.Addr().Is6()
		}
		if leads {
			found = append(found, up)
		}
	}
	return found, nil
}

// isDefault reports whether a route is one for everything that has no better
// one. Some programs split theirs, to be before another one: 0.0.0.0/1 and
// 128.0.0.0/1, or 2000::/3.
func isDefault(dst netip.Prefix) bool {
	const splitInto4, splitInto6 = 1, 3
	return dst.Bits() <= splitInto4 || dst.Addr().Is6() && dst.Bits() <= splitInto6
}

// Occupied are the networks that the host reaches otherwise than over links of
// ours.
type Occupied []occupied

type occupied struct {
	prefix netip.Prefix
	link   string
}

// Occupied returns the networks that the host has addresses in or routes to,
// except those of links of ours. Routes that say that a network is nowhere do
// not count.
func (s *Space) Occupied(ours func(link string) bool) (Occupied, error) {
	links, err := s.Links()
	if err != nil {
		return nil, err
	}
	routes, err := s.Routes()
	if err != nil {
		return nil, err
	}
	var all Occupied
	names := map[int]string{}
	add := func(prefix netip.Prefix, link string) {
		addr := prefix.Addr()
		if isDefault(prefix) || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsLoopback() {
			return
		}
		one := occupied{prefix.Masked(), link}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	for _, l := range links {
		if ours(l.Name) {
			continue
		}
		names[l.Index] = l.Name
		for _, prefix := range l.Addrs {
			add(prefix, l.Name)
		}
	}
	for _, r := range routes {
		if name, ok := names[r.Link]; ok && r.Type == unix.RTN_UNICAST {
			add(r.Dst, name)
		}
	}
	return all, nil
}

// Overlaps says what a network would clash with, as "192.168.0.0/16 on eth0".
func (o Occupied) Overlaps(prefix netip.Prefix) (what string, yes bool) {
	for _, one := range o {
		if one.prefix.Overlaps(prefix) {
			return one.prefix.String() + " on " + one.link, true
		}
	}
	return "", false
}
