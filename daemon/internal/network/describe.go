package network

import (
	"net/netip"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Describe tells what there is to tell about a machine's network. A machine that
// has none of its own is ErrNoPrivateNetworking.
func (m *Manager) Describe(name string) (machd.NetworkStatus, error) {
	n := m.of(name)
	if n == nil || n.Since == 0 {
		if _, ok := m.cfg.Machines().Get(name); !ok {
			return machd.NetworkStatus{}, machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
		}
		return machd.NetworkStatus{}, machine1.Errorf(machine1.ErrNoPrivateNetworking, "Machine %s has no link to the host", name)
	}
	s := machd.NetworkStatus{
		Link: n.Link, GuestLink: guestLink, Kind: n.Kind, MAC: n.MAC,
		Managed: n.ours(), By: n.By, Problems: n.Problems,
	}
	switch n.Kind {
	case machd.LinkZone:
		s.Zone, s.Bridge = n.Shared, n.Link
	case machd.LinkBridge:
		s.Bridge = n.Shared
	}
	for _, p := range n.addresses() {
		s.Addresses = append(s.Addresses, p.String())
	}
	for _, g := range n.gateways() {
		s.Gateways = append(s.Gateways, g.Addr().String())
		if n.Kind != machd.LinkBridge {
			s.DNS = append(s.DNS, g.Addr().String())
		}
	}
	return s, nil
}

// A Network is that of one machine, as it is meant to be.
type Network struct {
	Machine   string
	Kind      string // machd.LinkVeth and its like
	Link      string // the host's side, or the bridge
	Peer      string // the machine's port of that bridge
	GuestLink string
	Addresses []netip.Prefix
	Gateways  []netip.Addr
	MAC       string
	Ports     []machd.Port
	Inward    []machd.Port
	Managed   bool
	By        string
	Problems  []string
}

// Networks returns those of the machines there are, and which machines have one
// that are not there yet, or not at the moment.
func (m *Manager) Networks() (there []Network, starting []string) {
	for _, n := range m.all() {
		if n.Since == 0 {
			starting = append(starting, n.Machine)
			continue
		}
		there = append(there, Network{
			Machine: n.Machine, Kind: n.Kind, Link: n.Link, Peer: n.Peer, GuestLink: guestLink,
			Addresses: n.addresses(), Gateways: addrsOf(n.gateways()), MAC: n.MAC, Ports: n.Ports.ports(), Inward: n.Inward.ports(),
			Managed: n.ours(), By: n.By, Problems: n.Problems,
		})
	}
	return there, starting
}

// A Glance is what there is to tell of a network in few words.
type Glance struct {
	Link   string   // of the host: the machine's own, or the bridge of its zone
	Zone   string   // "" if it is in none
	Ports  []string // as machd.ParsePorts reads them
	Inward []string // as machd.ParseInwardPorts does
}

// Glances returns those of the machines there are, by name.
func (m *Manager) Glances() map[string]Glance {
	m.mu.Lock()
	defer m.mu.Unlock()
	glances := make(map[string]Glance, len(m.networks))
	for name, n := range m.networks {
		if n.Since == 0 {
			continue
		}
		g := Glance{Link: n.Link, Ports: n.Ports.texts(), Inward: n.Inward.inwardTexts()}
		if n.Kind == machd.LinkZone {
			g.Zone = n.Shared
		}
		glances[name] = g
	}
	return glances
}
