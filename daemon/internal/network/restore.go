package network

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/pkg/machine1"
)

// Restore takes over the records that an earlier daemon has left, but for those
// of machines that have ended since. It is called when the machines are known,
// before any more can come. Run does the rest.
func (m *Manager) Restore() {
	records, err := m.records.all()
	if err != nil {
		m.cfg.Log.Error("Networks of machines are lost.", "error", err)
	}
	for _, n := range records {
		switch {
		case n.Since != 0 && m.lives(n):
		case n.Unit != "":
			n.Since, n.Kept = 0, true // settle looks whether its unit is still there
		default:
			if err := m.records.remove(n.Machine); err != nil {
				m.cfg.Log.Warn("The record of a network cannot be removed.", "machine", n.Machine, "error", err)
			}
			continue
		}
		m.mu.Lock()
		m.set(n.Machine, n)
		m.mu.Unlock()
	}
}

// takeOver gives the machines that are there what they have already, and what
// they lack; an earlier daemon may have been another one than machd.
func (m *Manager) takeOver(ctx context.Context) {
	m.keepOthersOff(ctx)
	for x := range m.cfg.Machines().All() {
		if x.Class != machine1.ClassHost {
			m.Attach(ctx, x)
		}
	}
	m.settleAll(ctx)
	m.tidy()
}

// tidy takes back rules and switches that no machine needs.
func (m *Manager) tidy() {
	m.order.Lock()
	defer m.order.Unlock()
	if len(m.managed("")) > 0 {
		m.mend(false)
		return
	}
	if err := m.clear(); err != nil {
		m.cfg.Log.Warn("The host's network is not as it was before there were machines.", "error", err)
	}
}

// clear takes back what is on the host for all machines together. The rules stay
// if anything else does: it is guarded by them. m.order is held.
func (m *Manager) clear() error {
	if err := m.forward.Restore(); err != nil {
		return err
	}
	m.guarded = nil
	table, err := m.table()
	if err != nil {
		return nil // so there are no rules
	}
	return table.Remove()
}

// reconcile makes the rules what they should be, and returns which were not. A
// link that is no machine's any more is closed before its guard goes. m.order is
// held.
func (m *Manager) reconcile(table *nft.Table) (wrong []string, err error) {
	links := m.linkNames("")
	over := slices.DeleteFunc(m.forward.Opened(), func(name string) bool { return slices.Contains(links, name) })
	release := func() error { return m.forward.Release(over...) }
	if len(links) == 0 {
		release = m.forward.Restore // nobody forwards for us any more
	}
	if err := release(); err != nil {
		m.cfg.Log.Warn("Links of machines that have ended are not as they were; they stay guarded.", "error", err)
	}
	return table.Reconcile(m.want())
}

// want are the rules that there should be. m.order is held.
func (m *Manager) want() (r nft.Rules) {
	r.Uplinks = slices.Clone(m.guarded)
	links := m.linkNames("")
	for _, name := range m.forward.Opened() {
		if !slices.Contains(links, name) { // nothing may come from there
			r.Links = append(r.Links, nft.Link{Name: name})
		}
	}
	onLink, leads := map[string][]*network{}, places{}
	for _, n := range m.managed("") {
		onLink[n.Link] = append(onLink[n.Link], n)
		own := m.rulesOf(n)
		own.Ports = slices.DeleteFunc(own.Ports, func(p nft.Port) bool { return m.contradicts(leads, n, p.Key(), p.To) })
		own.Inward = slices.DeleteFunc(own.Inward, func(i nft.Inward) bool { return m.contradicts(leads, n, i.Key(), i.To) })
		r = joined(r, own)
	}
	for _, on := range onLink {
		r.Inward = append(r.Inward, nameServer(on)...)
	}
	return r
}

// places are where ports lead to.
type places map[nft.Key]netip.AddrPort

// contradicts reports whether a port of a machine leads elsewhere already. None
// may, and if one did nothing could be restored because of it.
func (m *Manager) contradicts(leads places, n *network, port nft.Key, to netip.AddrPort) bool {
	had, ok := leads[port]
	if ok && had != to {
		m.cfg.Log.Error("A port leads to two places, one of which is left out.", "machine", n.Machine, "port", port.String(), "place", to.String())
		return true
	}
	leads[port] = to
	return false
}

// Mend makes links, rules and switches what they should be, and tells which
// rules were lacking.
func (m *Manager) Mend(ctx context.Context) ([]string, error) {
	for x := range m.cfg.Machines().All() {
		if n := m.of(x.Name); n != nil && n.Since == x.Monotonic {
			m.Attach(ctx, x)
		}
	}
	m.order.Lock()
	defer m.order.Unlock()
	m.outside.refresh()
	table, err := m.table()
	if err != nil || len(m.managed("")) == 0 {
		return nil, err
	}
	lacking, err := m.reconcile(table)
	if err != nil || len(m.linkNames("")) == 0 {
		return lacking, err
	}
	return lacking, m.switchOn()
}

// mend makes the rules what they should be, and tells what was lacking if
// somebody took it away. m.order is held.
func (m *Manager) mend(tell bool) {
	table, err := m.table()
	if err != nil || len(m.managed("")) == 0 {
		return
	}
	lacking, err := m.reconcile(table)
	switch {
	case err != nil:
		m.cfg.Log.Error("The rules of machines' networks cannot be restored.", "error", err)
	case tell && len(lacking) > 0:
		m.cfg.Log.Warn("Somebody removed rules of machines' networks; they are back.", "rules", fewOf(lacking))
	}
}

// fewOf leaves out most of a long list, for a line of the log.
func fewOf(texts []string) []string {
	const few = 8
	if len(texts) <= few {
		return texts
	}
	return append(slices.Clone(texts[:few]), fmt.Sprintf("and %d more", len(texts)-few))
}

// Run keeps rules, forwarding and ports what they should be while the host
// changes. It returns when ctx ends; the networks stay.
func (m *Manager) Run(ctx context.Context) error {
	defer m.endServices()
	m.takeOver(ctx)
	return task.Run(ctx, m.watchUnits, m.watchRules, m.watchHost)
}

func (m *Manager) watchRules(ctx context.Context) error {
	m.order.Lock()
	table, err := m.table()
	m.order.Unlock()
	if err != nil {
		m.cfg.Log.Info("Machines have no way out, and no port of the host leads to them.", "error", err)
		<-ctx.Done()
		return nil
	}
	return table.Watch(ctx, func() {
		m.order.Lock()
		defer m.order.Unlock()
		m.mend(true)
	})
}

func (m *Manager) watchHost(ctx context.Context) error {
	return m.host.Watch(ctx, func() {
		m.order.Lock()
		defer m.order.Unlock()
		m.outside.refresh()
		if len(m.linkNames("")) == 0 {
			return
		}
		if err := m.switchOn(); err != nil {
			m.cfg.Log.Warn("Machines may not be reached by the host's new links.", "error", err)
		}
		if err := m.followGiven(); err != nil {
			m.cfg.Log.Warn("Machines may not use addresses that the host has a network for on their links.", "error", err)
		}
	})
}

// switches is where what was switched on is recorded.
func (m *Manager) switches() string { return filepath.Join(m.cfg.Paths.Run, "switches") }
