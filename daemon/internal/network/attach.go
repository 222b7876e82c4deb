package network

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// guestLink is what systemd-nspawn calls the machine's end of its link.
	guestLink = "host0"
	// attachLimit is how long a machine that registers may be kept waiting.
	attachLimit = 5 * time.Second
)

// Attach gives a machine that registers its network, before anybody is told
// that it is there: systemd-nspawn lets its first process run when it has got
// the answer. Whatever goes wrong is told and leaves the machine without, or
// with part of, a network; it must not keep it from running.
func (m *Manager) Attach(ctx context.Context, x machine.Machine) {
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	n, err := m.attach(ctx, x)
	if err != nil {
		m.cfg.Log.Error("A machine has no working network.", "machine", x.Name, "error", err)
	}
	if n != nil && n.ours() {
		if err := m.tellNameServer(ctx, x, n); err != nil {
			m.cfg.Log.Warn("A machine was not told which name server to ask.", "machine", x.Name, "error", err)
		}
		if m.of(x.Name) == nil { // it ended meanwhile, and that is written again
			m.forget(x.Name)
		}
	}
}

// attach returns the network that a machine has now, or nil if it has none that
// we know.
func (m *Manager) attach(ctx context.Context, x machine.Machine) (*network, error) {
	if x.Class != machine1.ClassContainer || x.UID != 0 || x.Leader == nil {
		return nil, nil // a user's machine has what the user could give it
	}
	guest, err := link.Of(x.Leader)
	if errors.Is(err, link.ErrShared) {
		return nil, m.forgetReserved(x.Name)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil, nil // it has ended, which is told in a moment
	}
	if err != nil {
		return nil, err
	}
	defer guest.Close()

	m.order.Lock()
	defer m.order.Unlock()
	before := m.of(x.Name)
	n, err := m.identify(x)
	if n == nil {
		return nil, err
	}
	has := before != nil && before.Since == x.Monotonic && before.ours()
	if has && (err != nil || !n.ours() || n.place() != before.place()) {
		has = false
		if err := m.withdraw(before); err != nil {
			m.cfg.Log.Warn("Part of a network cannot be taken back.", "machine", x.Name, "error", err)
		}
	}
	if err == nil && n.ours() {
		if !m.choices.manage && n.Kind != machd.LinkBridge {
			m.keepOthersOff(ctx, n.Link)
		}
		err = m.connect(n, guest, has)
	}
	if err != nil {
		m.endService(n)
		err = errors.Join(err, m.switchOff(n))
		n.By, n.Problems = "", append(n.Problems, err.Error())
	}
	return n, errors.Join(err, m.put(n))
}

// identify returns the network that a machine is to have, by its link and by
// what was reserved for it or its settings say.
func (m *Manager) identify(x machine.Machine) (*network, error) {
	before := m.of(x.Name)
	if before != nil && before.Since != 0 && before.Since != x.Monotonic && m.lives(before) {
		return nil, nil // of a machine that keeps its name from this one
	}
	n := &network{Machine: x.Name, Since: x.Monotonic}
	if err := m.locate(n, x); err != nil || n.Kind == "" {
		return nil, errors.Join(err, m.forgetReserved(x.Name))
	}
	if before != nil && (before.Since == 0 || before.Since == x.Monotonic) && before.Kind == n.Kind && before.Shared == n.Shared {
		again := *before
		again.Since, again.Link, again.Index, again.Peer, again.Problems, again.Kept = n.Since, n.Link, n.Index, n.Peer, nil, false
		if len(before.Problems) > 0 && len(before.addresses()) > 0 {
			again.By = machd.NetworkByMachd // what failed then need not fail now
			if !before.ours() {
				m.dropRefusedPorts(&again) // others may have got them
			}
		}
		return &again, nil
	}
	settings, err := m.cfg.Paths.settings(x.Name)
	if err != nil {
		return n, err
	}
	w, err := wishOf(machd.NetworkOptions{}, settings)
	if err != nil {
		return n, err
	}
	if n.By = m.manager(n, w); !n.ours() {
		return n, nil
	}
	m.mu.Lock()
	err = m.choose(n, w)
	m.mu.Unlock()
	if err != nil {
		return n, err
	}
	m.dropRefusedPorts(n)
	return n, nil
}

// dropRefusedPorts leaves a network without the ports that it cannot have.
func (m *Manager) dropRefusedPorts(n *network) {
	if err := m.mayPublish(n, n.Ports.ports()); err != nil {
		n.Ports, n.Problems = nil, append(n.Problems, err.Error())
		m.cfg.Log.Error("Ports of a machine are not published.", "machine", n.Machine, "error", err)
	}
	m.mu.Lock()
	err := m.mayExpose(n, n.Inward.ports())
	m.mu.Unlock()
	if err != nil {
		n.Inward, n.Problems = nil, append(n.Problems, err.Error())
		m.cfg.Log.Error("Ports of the host are not exposed to a machine.", "machine", n.Machine, "error", err)
	}
}

// manager tells who manages the network of a machine that we have not been told
// anything about.
func (m *Manager) manager(n *network, w wish) string {
	switch {
	case w.unwanted || !m.choices.manage && len(w.addresses) == 0:
		return ""
	case n.Kind == machd.LinkBridge:
		if len(w.addresses) > 0 {
			return machd.NetworkByMachd
		}
		return machd.NetworkByAdministrator
	}
	if m.others.claim(n.Link) {
		return machd.NetworkByAdministrator
	}
	if l, err := m.host.ByIndex(n.Index); err == nil && n.Kind == machd.LinkVeth && len(global(l.Addrs)) > 0 {
		return machd.NetworkByAdministrator // somebody was quicker
	}
	return machd.NetworkByMachd
}

// locate finds the host's side of a machine's link. Registrants name it, or the
// bridge that it is in. n.Kind stays "" if there is none that we know.
func (m *Manager) locate(n *network, x machine.Machine) error {
	if len(x.NetworkInterfaces) == 0 {
		return nil
	}
	l, err := m.host.ByIndex(int(x.NetworkInterfaces[0]))
	if err != nil {
		return fmt.Errorf("cannot find the link of machine %s: %w", x.Name, err)
	}
	if l.Kind == "veth" && l.Master != 0 {
		n.Peer = l.Name
		if l, err = m.host.ByIndex(l.Master); err != nil {
			return fmt.Errorf("cannot find the bridge of machine %s: %w", x.Name, err)
		}
	}
	n.Link, n.Index = l.Name, l.Index
	switch {
	case l.Kind == "veth":
		n.Kind = machd.LinkVeth
	case l.Kind != "bridge":
	case strings.HasPrefix(l.Name, "vz-"):
		n.Kind, n.Shared = machd.LinkZone, strings.TrimPrefix(l.Name, "vz-")
	default:
		n.Kind, n.Shared = machd.LinkBridge, l.Name
	}
	if n.Kind != machd.LinkVeth && n.Peer == "" {
		if port, err := m.host.Link(link.PortName(x.Name)); err == nil && port.Master == n.Index {
			n.Peer = port.Name
		}
	}
	return nil
}

// connect makes the network that n says. A machine that has it keeps it, whatever
// cannot be made again: one that spoils its own end of the link must not be rid
// of what guards the host. m.order is held.
func (m *Manager) connect(n *network, guest *link.Space, has bool) error {
	var undo undo
	if err := m.configure(n, guest, &undo); err != nil {
		if !has {
			undo.run(m.cfg.Log)
			return err
		}
		n.Problems = append(n.Problems, err.Error())
		m.cfg.Log.Error("The link of a machine is not what it should be.", "machine", n.Machine, "error", err)
	}
	if err := m.publish(n); err != nil {
		if n.Kind == machd.LinkBridge && !has {
			undo.run(m.cfg.Log)
			return err
		}
		// The machine and the host reach each other all the same.
		n.Problems = append(n.Problems, err.Error())
		m.cfg.Log.Error("A machine has no way out, and no port of the host leads to it.", "machine", n.Machine, "error", err)
	}
	if n.Kind == machd.LinkBridge {
		return nil
	}
	if err := m.serve(n); err != nil {
		n.Problems = append(n.Problems, err.Error())
		m.cfg.Log.Warn("A machine is not answered all that it may ask by DHCP and DNS.", "machine", n.Machine, "error", err)
	}
	return nil
}

// configure gives both ends of the machine's link what they are to have.
func (m *Manager) configure(n *network, guest *link.Space, undo *undo) error {
	mtu := m.outside.mtu()
	if mtu >= 1500 {
		mtu = 0 // as it is
	}
	if n.Kind != machd.LinkBridge {
		host := link.Config{Index: n.Index, Up: true, Addrs: n.gateways(), MTU: mtu, NoDAD: n.Kind == machd.LinkVeth}
		if n.Kind == machd.LinkZone {
			host.MAC = zoneMAC(n.Shared)
		}
		back, err := m.host.Configure(host)
		if err != nil {
			return err
		}
		if !m.isShared(n) {
			undo.add(back)
		}
	}
	if n.Kind == machd.LinkZone {
		n.Routers = m.linkLocal(n.Index)
	}
	if addresses, err := m.host.Addresses(); err == nil {
		n.Given = n.given(addresses)
	}
	mac, _ := net.ParseMAC(n.MAC)
	inside := link.Config{Link: guestLink, Up: true, Addrs: n.addresses(), MAC: mac, MTU: mtu, NoRA: true, NoDAD: n.Kind == machd.LinkVeth}
	for _, g := range n.gateways() {
		inside.Routes = append(inside.Routes, link.Route{Dst: everything(g.Addr()), Via: g.Addr()})
	}
	back, err := guest.Configure(inside)
	if err != nil {
		return fmt.Errorf("in the machine: %w", err)
	}
	undo.add(back)
	if l, err := guest.Link(guestLink); err == nil {
		n.MAC = l.MAC.String()
	}
	return nil
}

// linkLocal returns the host's addresses on a link that are good there only.
func (m *Manager) linkLocal(index int) (list []netip.Addr) {
	l, err := m.host.ByIndex(index)
	if err != nil {
		return nil
	}
	for _, p := range l.Addrs {
		if p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Addr())
		}
	}
	return list
}

// zoneMAC is the address of a zone's bridge. Without one of its own it would have
// that of a port, and another one when that goes, which the machines that stay
// would notice half a minute later.
func zoneMAC(zone string) net.HardwareAddr {
	const group, local = 1, 2
	sum := sha256.Sum256([]byte("zone " + zone))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^group | local
	return mac
}

// everything is the destination of a default route.
func everything(via netip.Addr) netip.Prefix {
	if via.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// lives reports whether the machine that n is of is still there.
func (m *Manager) lives(n *network) bool {
	x, ok := m.cfg.Machines().Get(n.Machine)
	return ok && x.Monotonic == n.Since
}

// Detach takes back all that a machine had of the host. Its links have gone with
// it, or go in a moment.
func (m *Manager) Detach(x machine.Machine) {
	n, err := m.detach(x)
	if err != nil {
		m.cfg.Log.Warn("Something of a machine's network is left.", "machine", x.Name, "error", err)
	}
	// The machine may only boot again. PID 1 tells when the unit has gone, but may
	// have done so already.
	if n != nil {
		m.settle(context.Background(), n)
	}
}

// detach takes back what connect has made, and returns what there is left: what a
// start was told stays for as long as its unit.
func (m *Manager) detach(x machine.Machine) (*network, error) {
	m.order.Lock()
	defer m.order.Unlock()
	n := m.of(x.Name)
	if n == nil || n.Since != x.Monotonic {
		return nil, nil
	}
	err := m.withdraw(n)
	if n.Unit == "" {
		return nil, errors.Join(err, m.drop(n))
	}
	again := *n
	again.Since, again.Kept = 0, true
	return &again, errors.Join(err, m.put(&again))
}

// forgetReserved drops what was reserved for a machine that has come otherwise.
func (m *Manager) forgetReserved(name string) error {
	if n := m.of(name); n != nil && n.Since == 0 {
		return m.drop(n)
	}
	return nil
}

// global returns the addresses that are not of the link alone.
func global(all []netip.Prefix) (list []netip.Prefix) {
	for _, p := range all {
		if !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p)
		}
	}
	return list
}
