package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// free refuses ports that somebody on the host listens on.
func (m *Manager) free(ports []machd.Port) error {
	for _, p := range ports {
		holder, found, err := m.host.Listener(number(p.Protocol), p.Address, p.Host)
		if err != nil {
			return fmt.Errorf("cannot tell whether port %s is in use: %w", p, err)
		}
		if found {
			return machine1.Errorf(unix.EADDRINUSE,
				"Port %s is in use on the host, by %s, which nobody would reach any more; another port, or another address before it, is free", p, holder)
		}
	}
	return nil
}

// AddPorts publishes ports of a machine that runs: all of them, or none. With
// inward they are services of the host for the machine. Those that it has already
// stay as they are.
func (m *Manager) AddPorts(_ context.Context, name string, ports []machd.Port, inward bool) error {
	m.order.Lock()
	defer m.order.Unlock()
	n, err := m.running(name)
	if err != nil {
		return err
	}
	changed := *n
	list := changed.list(inward)
	ports = slices.DeleteFunc(slices.Clone(ports), list.has)
	*list = list.with(ports...)
	switch {
	case len(ports) == 0:
		return nil
	case inward:
		m.mu.Lock()
		err = m.mayExpose(&changed, ports)
		m.mu.Unlock()
	default:
		err = m.mayPublish(n, ports)
	}
	if err != nil {
		return err
	}
	return m.replace(n, &changed, nil, ports, inward)
}

// mayExpose refuses those of a machine's ports of the gateway that lead elsewhere,
// too, for itself or for others on its link, whose gateway is the same. m.mu is
// held.
func (m *Manager) mayExpose(n *network, ports []machd.Port) error {
	for _, o := range m.networks {
		if o.Machine == n.Machine || o.Link != n.Link || !o.ours() {
			continue
		}
		for _, p := range ports {
			if host, ok := o.Inward.hostOf(p.Protocol, p.Guest); ok && host != p.Host {
				return machine1.Errorf(unix.EADDRINUSE,
					"Machine %s, whose gateway is the same, finds port %d of the host at %d/%s of it already; port %d can be exposed at another one, as OTHER:%d",
					o.Machine, host, p.Guest, p.Protocol, p.Host, p.Host)
			}
		}
	}
	for _, p := range ports {
		if host, _ := n.Inward.hostOf(p.Protocol, p.Guest); host != p.Host {
			return machine1.Errorf(unix.EADDRINUSE,
				"Machine %s would find two ports of the host at %d/%s of its gateway, %d and %d; port %d can be exposed at another one, as OTHER:%d",
				n.Machine, p.Guest, p.Protocol, host, p.Host, p.Host, p.Host)
		}
	}
	return nil
}

// RemovePorts takes ports back, and ends the connections that came by them. They
// are as of machd.ParseRemovedPorts; it returns which that were.
func (m *Manager) RemovePorts(_ context.Context, name string, ports []machd.Port, inward bool) (removed []machd.Port, err error) {
	m.order.Lock()
	defer m.order.Unlock()
	n, err := m.running(name)
	if err != nil {
		return nil, err
	}
	if removed, err = n.those(ports, inward); err != nil {
		return nil, err
	}
	changed := *n
	list := changed.list(inward)
	for _, p := range removed {
		*list, _ = list.without(p)
	}
	if err := m.replace(n, &changed, removed, nil, inward); err != nil || inward {
		return removed, err
	}
	return removed, m.endConnections(n, removed)
}

// those returns the machine's ports that are like some of which one end may not
// have been given. Each has to be there.
func (n *network) those(ports []machd.Port, inward bool) (all []machd.Port, err error) {
	list := n.list(inward)
	for _, p := range ports {
		found := list.like(p)
		if len(found) != 1 {
			return nil, n.lacks(p, inward)
		}
		if !slices.Contains(all, found[0]) {
			all = append(all, found[0])
		}
	}
	return all, nil
}

// lacks says that a port is not there, and which are that could be meant.
func (n *network) lacks(p machd.Port, inward bool) error {
	kind, text, number := "published", machd.Port.String, func(p machd.Port) uint16 { return p.Host }
	if inward {
		kind, text, number = "exposed", machd.Port.InwardString, func(p machd.Port) uint16 { return p.Guest }
	}
	var near []string
	for other := range n.list(inward).all() {
		if number(other) == number(p) {
			near = append(near, text(other))
		}
	}
	p.Host, p.Guest = cmp.Or(p.Host, p.Guest), cmp.Or(p.Guest, p.Host)
	has := ""
	if len(near) > 0 {
		has = ", but " + strings.Join(near, ", ")
	}
	return machine1.Errorf(machine1.ErrInvalidArgs, "Machine %s has no %s port %s%s", n.Machine, kind, text(p), has)
}

// running returns the network of a machine that can have ports.
func (m *Manager) running(name string) (*network, error) {
	n := m.of(name)
	switch {
	case n == nil || n.Since == 0:
		return nil, machine1.Errorf(machine1.ErrNoPrivateNetworking,
			"Machine %s has no link to the host that ports could lead to; one that is started with --network=veth has", name)
	case !n.ours():
		return nil, machine1.Errorf(machine1.ErrNotSupported, "The network of machine %s is not machd's to change: %s", name, n.whose())
	}
	return n, nil
}

// whose tells who manages a network, for a person.
func (n *network) whose() string {
	switch {
	case n.By != "":
		return n.By + " manages it"
	case len(n.Problems) > 0:
		return n.Problems[len(n.Problems)-1]
	}
	return "Network=no says so"
}

// mayPublish refuses ports for a machine that are in use otherwise.
func (m *Manager) mayPublish(n *network, ports []machd.Port) error {
	m.mu.Lock()
	err := m.claims.check(n.Machine, ports)
	for _, p := range ports {
		err = errors.Join(err, m.claims.contradicts(n.Machine, p))
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.free(ports)
}

func (n *network) list(inward bool) *portList {
	if inward {
		return &n.Inward
	}
	return &n.Ports
}

func (n *network) portRules(ports []machd.Port, inward bool) (r nft.Rules) {
	for _, p := range ports {
		if inward {
			r.Inward = append(r.Inward, n.inwardRules(p)...)
		} else {
			r.Ports = append(r.Ports, n.targets(p)...)
		}
	}
	return r
}

// replace makes n what after is, which lacks the ports that are gone and has
// those that come, and the rules with it. m.order is held.
func (m *Manager) replace(n, after *network, gone, come []machd.Port, inward bool) error {
	table, err := m.table()
	if err != nil {
		return err
	}
	remove, add := m.ofNobodyElse(n, n.portRules(gone, inward)), n.portRules(come, inward)
	if inward {
		others := m.othersOn(n)
		noLonger, again := changed(nameServer(append(others, n)), nameServer(append(others, after)))
		remove.Inward, add.Inward = append(remove.Inward, noLonger...), append(add.Inward, again...)
	}
	if err := table.Change(remove, add); err != nil {
		return fmt.Errorf("cannot change the ports of machine %s: %w", n.Machine, err)
	}
	if err := m.records.save(after); err != nil {
		return errors.Join(fmt.Errorf("cannot write down the ports of machine %s: %w", n.Machine, err), table.Change(add, remove))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks[n.Machine] = after
	if !inward {
		m.claims.remove(n.Machine, gone)
		m.claims.add(n.Machine, come)
	}
	if m.cfg.Changed != nil {
		m.cfg.Changed(n.Machine)
	}
	return nil
}

// Ports tells about the ports of a machine, or of all if name is "".
func (m *Manager) Ports(_ context.Context, name string) ([]machd.PortStatus, error) {
	list := m.all()
	if name != "" {
		n := m.of(name)
		if n == nil {
			if _, ok := m.cfg.Machines().Get(name); !ok {
				return nil, machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
			}
			return nil, nil
		}
		list = []*network{n}
	}
	traffic, err := m.traffic()
	if err != nil {
		return nil, err
	}
	var all []machd.PortStatus
	served := listening(m.host)
	for _, n := range list {
		if n.Since == 0 {
			continue
		}
		answers, done := m.answers(n)
		for p := range n.Ports.all() {
			s := status(n, p, false)
			for _, target := range n.targets(p) {
				s.add(traffic[target.Key()])
			}
			s.Answers = answers(p)
			all = append(all, s.PortStatus)
		}
		for p := range n.Inward.all() {
			s := status(n, p, true)
			for _, rule := range n.inwardRules(p) {
				s.add(traffic[rule.Key()])
			}
			s.Answers = len(served(p.Protocol, p.Host)) > 0
			all = append(all, s.PortStatus)
		}
		done()
	}
	return all, nil
}

type portStatus struct{ machd.PortStatus }

func (s *portStatus) add(c nft.Counter) {
	s.Packets += c.Packets
	s.Bytes += c.Bytes
}

func status(n *network, p machd.Port, inward bool) portStatus {
	s := machd.PortStatus{Machine: n.Machine, Protocol: string(p.Protocol), Host: p.Host, Guest: p.Guest, Inward: inward}
	if p.Address.IsValid() {
		s.Address = p.Address.String()
	}
	return portStatus{s}
}

// traffic returns what came by each port. Where there are no rules there was
// none.
func (m *Manager) traffic() (map[nft.Key]nft.Counter, error) {
	m.order.Lock()
	table, err := m.table()
	m.order.Unlock()
	if err != nil {
		return nil, nil
	}
	traffic, err := table.Traffic()
	if err != nil {
		return nil, fmt.Errorf("cannot read the counters of ports: %w", err)
	}
	return traffic, nil
}

// answers returns what tells whether somebody in the machine listens where a
// port leads, so that it is there for whoever comes from outside.
func (m *Manager) answers(n *network) (answers func(machd.Port) bool, done func()) {
	nobody := func(machd.Port) bool { return false }
	x, ok := m.cfg.Machines().Get(n.Machine)
	if !ok || x.Leader == nil || len(n.Ports) == 0 {
		return nobody, func() {}
	}
	guest, err := link.Of(x.Leader)
	if err != nil {
		return nobody, func() {}
	}
	served := listening(guest)
	return func(p machd.Port) bool {
		return slices.ContainsFunc(served(p.Protocol, p.Guest), n.reachable)
	}, func() { guest.Close() }
}

// listening returns what tells for which addresses somebody listens on a port. It
// looks once for each protocol that is asked for.
func listening(s *link.Space) func(machd.Protocol, uint16) []netip.Addr {
	known := map[machd.Protocol]map[uint16][]netip.Addr{}
	return func(protocol machd.Protocol, port uint16) []netip.Addr {
		at, ok := known[protocol]
		if !ok {
			at, _ = s.Listens(number(protocol)) // who cannot be asked does not answer
			known[protocol] = at
		}
		return at[port]
	}
}

// reachable reports whether an address of the machine is there for others.
func (n *network) reachable(at netip.Addr) bool {
	return at.IsUnspecified() || at == n.Guest4.Addr() || at == n.Guest6.Addr()
}
