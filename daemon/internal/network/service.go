package network

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/responder"
	"github.com/machd/machd/pkg/machd"
)

// hostName is what machines find the host by, at the gateway of their link.
const hostName = "host.machd.internal"

// serve has DHCP, router solicitations and DNS answered on a machine's link, if
// they are not yet for others of its zone.
func (m *Manager) serve(n *network) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := n.place()
	l := m.links[at]
	if l == nil {
		l = &service{guests: map[string]guest{}}
		m.links[at] = l
	}
	l.guests[n.Machine] = guest{n.MAC, responder.Guest{
		Addr4: n.Guest4.Addr(), Addr6: n.Guest6.Addr(), Hostname: n.Machine,
	}}
	if l.responder != nil {
		return nil
	}
	mtu := m.outside.mtu()
	if mtu > 1500 {
		mtu = 1500
	}
	r, err := responder.Start(responder.Config{
		Link: n.Link, Index: n.Index, Gateway4: n.Gateway4, Gateway6: n.Gateway6, MTU: mtu,
		Guest:    func(mac net.HardwareAddr) (responder.Guest, bool) { return m.guest(at, mac) },
		Lookup:   func(name string) ([]netip.Addr, bool) { return m.lookup(at, name) },
		Reverse:  func(addr netip.Addr) (string, bool) { return m.reverse(at, addr) },
		Upstream: m.upstream,
		Holder:   m.holder,
		Log:      m.cfg.Log,
	})
	if err != nil {
		return err
	}
	l.responder = r
	return errors.Join(r.Problems()...)
}

// A place is a link. What comes later may have the name of what has gone.
type place struct {
	link  string
	index int
}

func (n *network) place() place { return place{n.Link, n.Index} }

// A service is what answers on one link, and whom.
type service struct {
	responder *responder.Responder
	guests    map[string]guest // by the names of machines
}

type guest struct {
	mac string
	responder.Guest
}

// endService ends what is answered for a machine, and with the last one of a
// link all of it.
func (m *Manager) endService(n *network) {
	m.mu.Lock()
	l := m.links[n.place()]
	var ended *responder.Responder
	if l != nil {
		if delete(l.guests, n.Machine); len(l.guests) == 0 {
			ended = l.responder
			delete(m.links, n.place())
		}
	}
	m.mu.Unlock()
	if ended != nil {
		ended.Close() // it may be asking us
	}
}

// endServices ends what is answered on all links, for a daemon that comes next.
// Left to the kernel, it would take that one by one, and all the longer.
func (m *Manager) endServices() {
	m.mu.Lock()
	var all []*responder.Responder
	for _, l := range m.links {
		if l.responder != nil {
			all = append(all, l.responder)
		}
	}
	m.mu.Unlock()
	responder.CloseAll(all)
}

// guest returns whom a MAC address on a link is of. On a link between two there
// is but one, who may choose his own.
func (m *Manager) guest(at place, mac net.HardwareAddr) (responder.Guest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.links[at]
	if l == nil {
		return responder.Guest{}, false
	}
	shared := strings.HasPrefix(at.link, "vz-")
	for _, g := range l.guests {
		if !shared || g.mac == mac.String() {
			return g.Guest, true
		}
	}
	return responder.Guest{}, false
}

// lookup answers for the names of machines, to machines that reach them by it:
// those of their zone, and the host. All others are for the host's resolver, so
// that no public name is ever hidden.
func (m *Manager) lookup(at place, name string) (addrs []netip.Addr, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.links[at]
	if l == nil {
		return nil, false
	}
	for x := range l.guests {
		n := m.networks[x]
		if n == nil {
			continue
		}
		if name == hostName {
			return addrsOf(n.gateways()), true
		}
		if strings.EqualFold(x, name) && !machine.PublicName(x) || n.Kind == machd.LinkZone && strings.EqualFold(x+"."+n.Shared, name) && !machine.PublicName(n.Shared) {
			return addrsOf(n.addresses()), true
		}
	}
	return nil, false
}

// reverse returns whose an address on a link is.
func (m *Manager) reverse(at place, addr netip.Addr) (name string, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.links[at]
	if l == nil {
		return "", false
	}
	for machine := range l.guests {
		n := m.networks[machine]
		switch {
		case n == nil:
		case slices.Contains(addrsOf(n.addresses()), addr):
			return machine, true
		case slices.Contains(addrsOf(n.gateways()), addr):
			return hostName, true
		}
	}
	return "", false
}

func addrsOf(prefixes []netip.Prefix) (list []netip.Addr) {
	for _, p := range prefixes {
		list = append(list, p.Addr())
	}
	return list
}

// holder tells who has a port of the host.
func (m *Manager) holder(protocol string, at netip.AddrPort) string {
	who, found, err := m.host.Listener(number(machd.Protocol(protocol)), at.Addr(), at.Port())
	if err != nil || !found {
		return ""
	}
	return who.String()
}
