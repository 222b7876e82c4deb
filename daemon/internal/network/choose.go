package network

import (
	"net/netip"
	"slices"

	"github.com/machd/machd/pkg/machd"
)

// choose gives n the addresses that w asks for, and of a family that it does not
// speak of those that the machine has by its name. m.mu is held.
func (m *Manager) choose(n *network, w wish) error {
	n.Ports, n.Inward = listOf(w.ports), listOf(w.inward)
	if w.mac != nil {
		n.MAC = w.mac.String()
	}
	for _, asked := range w.addresses {
		if err := m.mayHave(n, asked); err != nil {
			return err
		}
		n.set(asked, gatewayOf(asked, w.gateways))
	}
	if n.Kind == machd.LinkBridge {
		return nil // whose addresses are not ours to give
	}
	pools, links := m.choices.pools, site{whole: m.site}
	if n.Kind == machd.LinkZone {
		pools, links.zones = m.choices.zones, true
	}
	if !n.Guest4.IsValid() {
		if err := m.allocate(n, choosePool(pools, m.outside.overlaps)); err != nil {
			return err
		}
	}
	if !n.Guest6.IsValid() && m.outside.hasIPv6() {
		return m.allocate(n, links)
	}
	return nil
}

// allocate gives n a network of s, or an address in that of its zone.
func (m *Manager) allocate(n *network, s space) error {
	if n.Kind == machd.LinkVeth {
		p, err := allocate(n.Machine, s, m.leases, m.inUse(n))
		if p.IsValid() {
			n.set(netip.PrefixFrom(nth(p, 2), p.Bits()), nth(p, 1))
		}
		return err
	}
	p, err := m.zoneNetwork(n, s)
	if err != nil {
		return err
	}
	guest, err := allocateHost(n.Machine, p, m.leases, m.inUse(n))
	if guest.IsValid() {
		n.set(netip.PrefixFrom(guest, p.Bits()), nth(p, 1))
	}
	return err
}

// zoneNetwork returns the network of n's zone in a space: that of the machines
// in it, if there are any.
func (m *Manager) zoneNetwork(n *network, s space) (netip.Prefix, error) {
	if p, ok := m.zoneOthers(n, s.prefix(0).Addr().Is4()); ok {
		return p, nil
	}
	return allocate("zone "+n.Shared, s, m.leases, m.inUse(n))
}

// zoneOthers returns the network of a family that the other machines of n's zone
// are in, if there are any.
func (m *Manager) zoneOthers(n *network, is4 bool) (netip.Prefix, bool) {
	for _, other := range m.networks {
		if other.Machine == n.Machine || other.Kind != n.Kind || other.Shared != n.Shared {
			continue
		}
		for _, g := range other.gateways() {
			if g.Addr().Is4() == is4 {
				return g.Masked(), true
			}
		}
	}
	return netip.Prefix{}, false
}

// set gives n an address and the gateway to go with it.
func (n *network) set(guest netip.Prefix, gateway netip.Addr) {
	g := netip.PrefixFrom(gateway, guest.Bits())
	if guest.Addr().Is4() {
		n.Guest4, n.Gateway4 = guest, g
	} else {
		n.Guest6, n.Gateway6 = guest, g
	}
}

// gatewayOf returns the gateway in the network of an address: the one asked for,
// or the first address that is not the machine's.
func gatewayOf(address netip.Prefix, asked []netip.Addr) netip.Addr {
	if i := slices.IndexFunc(asked, address.Contains); i >= 0 {
		return asked[i]
	}
	if first := nth(address, 1); first != address.Addr() {
		return first
	}
	return nth(address, 2)
}

// inUse tells which other machine has a network that overlaps one. Machines of a
// zone share theirs, and only their addresses are apart. m.mu is held.
func (m *Manager) inUse(n *network) taken {
	return func(p netip.Prefix) (string, bool) {
		for _, other := range m.networks {
			if other.Machine == n.Machine {
				continue
			}
			together := n.Shared != "" && other.Shared == n.Shared && other.Kind == n.Kind
			for _, address := range other.addresses() {
				clash := address.Masked().Overlaps(p)
				if together {
					clash = p.IsSingleIP() && address.Addr() == p.Addr()
				}
				if clash {
					return "machine " + other.Machine, true
				}
			}
		}
		return "", false
	}
}

// mayHave refuses an address that another machine or the host's surroundings
// have. m.mu is held.
func (m *Manager) mayHave(n *network, asked netip.Prefix) error {
	whole := asked.Masked()
	if n.Shared != "" {
		if by, ok := m.inUse(n)(single(asked.Addr())); ok {
			return refused("Address %s is that of %s", asked.Addr(), by)
		}
		if n.Kind == machd.LinkBridge {
			return nil
		}
		if p, ok := m.zoneOthers(n, asked.Addr().Is4()); ok && p != whole {
			return refused("Address %s is not in the network of zone %s, which is %s", asked, n.Shared, p)
		}
	} else if by, ok := m.inUse(n)(whole); ok {
		return refused("Network %s of address %s is that of %s; machines that are to share one need a zone", whole, asked.Addr(), by)
	}
	if where, ok := m.outside.overlaps(whole); ok {
		return refused("Network %s of address %s overlaps what the host reaches by %s: neither could be told from the other", whole, asked.Addr(), where)
	}
	return nil
}
