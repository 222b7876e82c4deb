package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// A Request is the network of a machine that is to be started.
type Request struct {
	Machine string
	Unit    string // that will carry it; options hold for as long as it is there
	Options machd.NetworkOptions
	Kind    string // of its link, as systemd-nspawn is told: machd.LinkVeth and its like, or "" for none
	Shared  string // the zone or bridge
	// Settings are the machine's, if it has some and they are believed.
	Settings *nspawnfile.File
}

// A Plan is what a machine that is to be started will have.
type Plan struct {
	Changes []machd.Change // to the host: links, addresses, ports and rules
	machine string
	network *network // nil for nothing
}

// Plan works out the network of a machine, and refuses what it cannot have:
// addresses and ports of others, networks that the host reaches otherwise. It
// changes nothing.
func (m *Manager) Plan(r Request) (Plan, error) {
	w, err := wishOf(r.Options, r.Settings)
	if err != nil {
		return Plan{}, err
	}
	n := &network{Machine: r.Machine, Unit: r.Unit, Kind: r.Kind, Shared: r.Shared, Link: linkName(r), By: machd.NetworkByMachd}
	switch {
	case w.unwanted, !m.choices.manage && !asks(r.Options) && len(w.addresses) == 0, r.Kind == machd.LinkBridge && len(w.addresses) == 0:
		return Plan{machine: r.Machine}, nil
	case m.others.claim(n.Link):
		if asks(r.Options) {
			return Plan{}, refused("Link %s is systemd-networkd's: a .network file of the administrator's matches it", n.Link)
		}
		return Plan{machine: r.Machine}, nil
	}
	m.mu.Lock()
	err = m.choose(n, w)
	if err == nil {
		err = m.mayHavePorts(n)
	}
	m.mu.Unlock()
	if err == nil && len(n.Ports) > 0 {
		err = m.mayPublishAtAll(n)
	}
	if err != nil {
		return Plan{}, err
	}
	return Plan{Changes: m.changes(n), machine: r.Machine, network: n}, nil
}

// asks reports whether a start was told anything about addresses and ports.
func asks(o machd.NetworkOptions) bool {
	return len(o.Addresses)+len(o.Gateways)+len(o.Publish)+len(o.ExposeHost) > 0 || o.MAC != ""
}

// mayPublishAtAll refuses ports that the host itself uses, or that there are no
// rules for. Those that the machine has already are its own.
func (m *Manager) mayPublishAtAll(n *network) error {
	m.order.Lock()
	_, err := m.table()
	m.order.Unlock()
	if err != nil {
		return machine1.Errorf(err, "Ports of machine %s cannot be published: %v", n.Machine, err)
	}
	return m.free(n.Ports.ports())
}

// linkName is what systemd-nspawn will call the host's side.
func linkName(r Request) string {
	switch r.Kind {
	case machd.LinkZone:
		return "vz-" + r.Shared
	case machd.LinkBridge:
		return r.Shared
	}
	return link.HostName(r.Machine)
}

// changes tells what the network will be, for a person.
func (m *Manager) changes(n *network) (list []machd.Change) {
	before := m.of(n.Machine)
	if before == nil {
		before = &network{}
	}
	add := func(kind, name, from, to string) {
		if from != to {
			list = append(list, machd.Change{Kind: kind, Name: name, From: from, To: to})
		}
	}
	add("link", n.Link, before.Kind, n.Kind)
	add("address", n.Link, prefixes(before, (*network).gateways), prefixes(n, (*network).gateways))
	add("address", guestLink, prefixes(before, (*network).addresses), prefixes(n, (*network).addresses))
	add("port", n.Machine, portTexts(before.Ports), portTexts(n.Ports))
	add("port", hostName, portTexts(before.Inward), portTexts(n.Inward))
	add("rule", "nftables", "", m.script(before, n))
	return list
}

// script is the change of the rules as commands for nft, "" if there can be none.
func (m *Manager) script(before, n *network) string {
	m.order.Lock()
	defer m.order.Unlock()
	table, err := m.table()
	if err != nil {
		return ""
	}
	remove := nft.Rules{}
	if before.Since != 0 && before.ours() {
		remove = m.shareOf(before)
	}
	text, err := table.Script(changedRules(remove, m.shareOf(n)))
	if err != nil {
		return ""
	}
	return text
}

// changedRules returns rules without those that stay.
func changedRules(before, after nft.Rules) (remove, add nft.Rules) {
	remove.Links, add.Links = changedBy(reflect.DeepEqual, before.Links, after.Links)
	remove.Members, add.Members = changedBy(reflect.DeepEqual, before.Members, after.Members)
	remove.Ports, add.Ports = changed(before.Ports, after.Ports)
	remove.Inward, add.Inward = changed(before.Inward, after.Inward)
	remove.Uplinks, add.Uplinks = changed(before.Uplinks, after.Uplinks)
	remove.Routers, add.Routers = changed(before.Routers, after.Routers)
	return remove, add
}

// changed returns what is in one of two lists only, which may be long.
func changed[T comparable](before, after []T) (gone, come []T) {
	without := func(list, other []T) []T {
		in := make(map[T]bool, len(other))
		for _, x := range other {
			in[x] = true
		}
		return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return in[x] })
	}
	return without(before, after), without(after, before)
}

// changedBy does the same with lists of what Go does not compare.
func changedBy[T any](equal func(x, y any) bool, before, after []T) (gone, come []T) {
	without := func(list, other []T) []T {
		return slices.DeleteFunc(slices.Clone(list), func(x T) bool {
			return slices.ContainsFunc(other, func(y T) bool { return equal(x, y) })
		})
	}
	return without(before, after), without(after, before)
}

func prefixes(n *network, of func(*network) []netip.Prefix) string {
	var texts []string
	for _, p := range of(n) {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, " ")
}

func portTexts(list portList) string {
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = machd.RangeString(r.first, r.n)
	}
	return strings.Join(texts, " ")
}

// Reserve keeps what a plan says for the machine that will register, so that
// nobody else gets it, and a daemon that comes in between knows of it. Release
// takes it back.
func (m *Manager) Reserve(p Plan) error {
	if p.network == nil {
		return m.forgetReserved(p.machine) // of an earlier start
	}
	n := *p.network
	m.order.Lock() // so that no port is added meanwhile
	defer m.order.Unlock()
	m.mu.Lock()
	before := m.networks[n.Machine]
	if before != nil && before.Since != 0 {
		m.mu.Unlock()
		return nil // it runs
	}
	err := m.stillFree(&n)
	if err == nil {
		m.set(n.Machine, &n)
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.writeDown(n.Machine); err != nil {
		return errors.Join(fmt.Errorf("cannot write down the network of %s: %w", n.Machine, err), m.Release(n.Machine))
	}
	if !m.choices.manage {
		m.keepOthersOff(context.Background())
	}
	return nil
}

// stillFree looks again, since another may have come between plan and
// reservation. m.mu is held.
func (m *Manager) stillFree(n *network) error {
	for _, p := range n.addresses() {
		if by, ok := m.inUse(n)(single(p.Addr())); ok {
			return refused("Address %s is that of %s by now", p.Addr(), by)
		}
	}
	return m.mayHavePorts(n)
}

// mayHavePorts refuses ports that other machines have. m.mu is held.
func (m *Manager) mayHavePorts(n *network) error {
	if err := m.claims.check(n.Machine, n.Ports.ports()); err != nil {
		return err
	}
	return m.mayExpose(n, n.Inward.ports())
}

// Release drops what was reserved for a machine that does not come. It does
// nothing about one that is there.
func (m *Manager) Release(machine string) error { return m.forgetReserved(machine) }
