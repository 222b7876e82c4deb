package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/pkg/machd"
)

// publish gives a network its rules, and switches on what they need. The guard
// comes before what it guards. m.order is held.
func (m *Manager) publish(n *network) error {
	table, err := m.table()
	if err == nil {
		err = table.Change(nft.Rules{}, m.shareOf(n))
	}
	if err != nil { // the guard may have gone, where there was one
		return errors.Join(fmt.Errorf("cannot make the rules of %s: %w", n.Link, err), m.switchOff(n))
	}
	if n.Kind == machd.LinkBridge {
		return nil
	}
	if err := m.switchOn(n.Link); err != nil {
		return fmt.Errorf("cannot switch forwarding on: %w", err)
	}
	m.reflect(n, true)
	if n.Gateway6.IsValid() {
		if err := m.host.Loopback6(n.Index); err != nil {
			m.cfg.Log.Warn("Ports do not answer on ::1.", "machine", n.Machine, "error", err)
		}
	}
	return nil
}

// reflect lets a machine of a zone get at its own ports, or not. Where br_netfilter
// is, what it sends there is for itself before it has left the bridge. The rules
// keep it from what it says to all.
func (m *Manager) reflect(n *network, on bool) {
	if n.Kind != machd.LinkZone || n.Peer == "" {
		return
	}
	if err := m.host.Hairpin(n.Peer, on); err != nil && !errors.Is(err, link.ErrNoLink) {
		m.cfg.Log.Warn("A machine may not reach its own ports.", "machine", n.Machine, "error", err)
	}
}

// withdraw takes back all that the host does for a machine, and ends the
// connections to its ports. The rules go last, and what could not be switched off
// stays guarded. m.order is held.
func (m *Manager) withdraw(n *network) error {
	m.endService(n)
	err := m.switchOff(n)
	if !n.ours() {
		return err // so it has no rules
	}
	m.reflect(n, false)
	err = errors.Join(err, m.withdrawRules(n, err == nil))
	// Earlier, one that goes on would begin again by the rules.
	_, dropErr := m.host.DropAddresses(addrsOf(n.addresses())...)
	return errors.Join(err, dropErr)
}

// withdrawRules takes the rules of a machine back, but for the guard of a link that
// is not closed.
func (m *Manager) withdrawRules(n *network, closed bool) error {
	if closed && len(m.managed(n.Machine)) == 0 {
		return m.clear()
	}
	table, err := m.table()
	if err != nil {
		return nil // so there is nothing
	}
	remove, add := m.ofNobodyElse(n, m.shareOf(n)), nft.Rules{}
	if !closed {
		remove.Links = nil
	}
	others := m.othersOn(n)
	_, add.Inward = changed(nameServer(append(others, n)), nameServer(others)) // which it may have had another service at
	if len(remove.Links) > 0 {
		for _, o := range others { // who have other addresses, and the same guard
			add.Links = append(add.Links, m.rulesOf(o).Links...)
		}
	}
	return table.Change(remove, add)
}

// ofNobodyElse returns those of a machine's rules that no other machine on its
// link has as well.
func (m *Manager) ofNobodyElse(n *network, rules nft.Rules) nft.Rules {
	others := m.othersOn(n)
	theirs := nft.Rules{Inward: nameServer(others)}
	for _, o := range others {
		theirs = joined(theirs, m.rulesOf(o))
	}
	rest, _ := changedRules(rules, theirs)
	return rest
}

// othersOn returns the other machines on the link of one.
func (m *Manager) othersOn(n *network) []*network {
	return slices.DeleteFunc(m.managed(n.Machine), func(o *network) bool { return o.Link != n.Link })
}

func joined(a, b nft.Rules) nft.Rules {
	return nft.Rules{
		Links: slices.Concat(a.Links, b.Links), Routers: slices.Concat(a.Routers, b.Routers), Members: slices.Concat(a.Members, b.Members),
		Ports: slices.Concat(a.Ports, b.Ports), Inward: slices.Concat(a.Inward, b.Inward), Uplinks: slices.Concat(a.Uplinks, b.Uplinks),
	}
}

// shareOf returns the rules of one machine, with those that all on its link share.
func (m *Manager) shareOf(n *network) nft.Rules {
	r := m.rulesOf(n)
	r.Inward = append(r.Inward, nameServer(append(m.othersOn(n), n))...)
	return r
}

// rulesOf returns the same but for the gateway's DNS.
func (m *Manager) rulesOf(n *network) (r nft.Rules) {
	if n.Kind != machd.LinkBridge {
		r.Links = []nft.Link{m.guardOf(n)}
	}
	if n.Kind == machd.LinkZone {
		r.Routers = n.Routers
	}
	if n.Kind == machd.LinkZone && n.Peer != "" {
		member := nft.Member{Name: n.Peer}
		member.MAC, _ = net.ParseMAC(n.MAC)
		for _, p := range n.addresses() {
			member.Sources = append(member.Sources, p.Addr())
		}
		r.Members = []nft.Member{member}
	}
	for p := range n.Ports.all() {
		r.Ports = append(r.Ports, n.targets(p)...)
	}
	for p := range n.Inward.all() {
		r.Inward = append(r.Inward, n.inwardRules(p)...)
	}
	return r
}

// guardOf returns what may come from the link of a machine.
func (m *Manager) guardOf(n *network) nft.Link {
	return nft.Link{Name: n.Link, Sources: m.sources(n), Given: n.Given}
}

// sources are the addresses that may come from a link: the machine's own, or all
// of its zone's.
func (m *Manager) sources(n *network) (list []netip.Prefix) {
	for _, p := range n.addresses() {
		if n.Kind == machd.LinkZone {
			list = append(list, p.Masked())
		} else {
			list = append(list, single(p.Addr()))
		}
	}
	return list
}

// targets are where a port leads in each family.
func (n *network) targets(p machd.Port) (list []nft.Port) {
	for _, guest := range n.addresses() {
		if p.Address.IsValid() && p.Address.Is4() != guest.Addr().Is4() {
			continue
		}
		list = append(list, nft.Port{
			Protocol: number(p.Protocol), Addr: p.Address, Port: p.Host, To: netip.AddrPortFrom(guest.Addr(), p.Guest),
		})
	}
	return list
}

// inwardRules lead from the machine's gateways to the host's own loopback
// address.
func (n *network) inwardRules(p machd.Port) (list []nft.Inward) {
	for _, g := range n.gateways() {
		to := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if g.Addr().Is6() {
			to = netip.IPv6Loopback()
		}
		list = append(list, nft.Inward{
			Link: n.Link, Protocol: number(p.Protocol), At: netip.AddrPortFrom(g.Addr(), p.Guest), To: netip.AddrPortFrom(to, p.Host),
		})
	}
	return list
}

// nameServer keeps the DNS of the gateway of a link from machines that publish its
// port for every address of the host. Where one of those on the link finds another
// service of the host there, they all do.
func nameServer(on []*network) (list []nft.Inward) {
	for _, protocol := range []machd.Protocol{machd.UDP, machd.TCP} {
		for _, n := range on {
			if n.Kind == machd.LinkBridge {
				continue // whose gateway is not the host
			}
			for _, g := range n.gateways() {
				at := netip.AddrPortFrom(g.Addr(), dnsPort)
				one := nft.Inward{Link: n.Link, Protocol: number(protocol), At: at, To: at}
				exposes := func(o *network) bool {
					_, ok := o.Inward.hostOf(protocol, dnsPort)
					return ok && slices.Contains(o.gateways(), g)
				}
				if !slices.Contains(list, one) && !slices.ContainsFunc(on, exposes) {
					list = append(list, one)
				}
			}
		}
	}
	return list
}

const dnsPort = 53

func number(p machd.Protocol) uint8 {
	if p == machd.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// switchOn lets packets through between links that are about to be ours and the
// world, and between those that are and what the world has become.
func (m *Manager) switchOn(links ...string) error {
	_, err := m.forward.Enable(links, m.outside.names())
	return err
}

// switchOff puts back what was switched on for a link that is over, and for all
// of them when it was the last.
func (m *Manager) switchOff(n *network) error {
	switch {
	case n.Kind == machd.LinkBridge, m.isShared(n):
		return nil
	case len(m.linkNames(n.Machine)) > 0:
		return m.forward.Release(n.Link)
	}
	return m.forward.Restore()
}

// guardUplinks sees to it that a link that forwards for us alone, IPv4 or IPv6,
// forwards to our links alone.
func (m *Manager) guardUplinks(open4, open6 []string) error {
	var open []nft.Uplink
	for _, name := range open4 {
		open = append(open, nft.Uplink{Name: name})
	}
	for _, name := range open6 {
		open = append(open, nft.Uplink{Name: name, IPv6: true})
	}
	remove, add := changed(m.guarded, open)
	if len(remove)+len(add) == 0 {
		return nil
	}
	table, err := m.table()
	if err != nil {
		return err
	}
	if err := table.Change(nft.Rules{Uplinks: remove}, nft.Rules{Uplinks: add}); err != nil {
		return err
	}
	m.guarded = open
	return nil
}

// managed are the networks of machines that are there, but for one, which is ""
// for none.
func (m *Manager) managed(but string) []*network {
	return slices.DeleteFunc(m.all(), func(n *network) bool { return !n.ours() || n.Since == 0 || n.Machine == but })
}

// linkNames are the links of those, where they are ours to change.
func (m *Manager) linkNames(but string) (names []string) {
	for _, n := range m.managed(but) {
		if n.Kind != machd.LinkBridge && !slices.Contains(names, n.Link) {
			names = append(names, n.Link)
		}
	}
	return names
}

// isShared reports whether another machine is on the link of one.
func (m *Manager) isShared(n *network) bool { return len(m.othersOn(n)) > 0 }

// endConnections ends those that came by ports of a machine.
func (m *Manager) endConnections(n *network, ports []machd.Port) error {
	var ended []link.Forwarded
	for _, p := range ports {
		for _, t := range n.targets(p) {
			ended = append(ended, link.Forwarded{Protocol: t.Protocol, At: netip.AddrPortFrom(t.Addr, t.Port), To: t.To})
		}
	}
	if _, err := m.host.DropConnections(ended...); err != nil {
		return fmt.Errorf("connections that came by the ports may go on: %w", err)
	}
	return nil
}
