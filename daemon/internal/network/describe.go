package network

import (
	"github.com/machd/machd/daemon/internal/nft"
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

// A Snapshot is what the network of every machine is meant to be, for a
// diagnosis.
type Snapshot struct {
	Networks []Network
	Rules    nft.Rules // of all of them
	NoRules  error     // why there are none
	Switches string    // the record of what was switched on
	Records  string    // the directory of the records of networks
}

// A Network is that of one machine.
type Network struct {
	machd.NetworkStatus
	Machine string
	Index   int    // of the link, on the host
	Peer    string // the machine's end in a bridge
	Ports   []machd.Port
	Inward  []machd.Port
}

// Snapshot returns what is meant to be.
func (m *Manager) Snapshot() Snapshot {
	m.order.Lock()
	defer m.order.Unlock()
	_, err := m.table()
	s := Snapshot{NoRules: err, Rules: m.want(), Switches: m.switches(), Records: m.cfg.Paths.Run}
	for _, n := range m.all() {
		status, err := m.Describe(n.Machine)
		if err != nil {
			continue
		}
		s.Networks = append(s.Networks, Network{status, n.Machine, n.Index, n.Peer, n.Ports, n.Inward})
	}
	return s
}
