package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/pkg/machd"
)

// given returns the networks that an administrator of the host has put on a link
// between two beside ours. The machine's end says nothing about that: neither its
// addresses count, nor those that the host has learned there, which expire.
func (n *network) given(host []link.Address) (list []netip.Prefix) {
	if n.Kind != machd.LinkVeth {
		return nil // in a zone each machine has its own addresses
	}
	for _, a := range host {
		addr := a.Prefix.Addr()
		if a.Link != n.Index || !a.Permanent || addr == n.Gateway4.Addr() || addr == n.Gateway6.Addr() {
			continue
		}
		if a.Network.Bits() > 0 && a.Network.Addr().IsGlobalUnicast() && !slices.Contains(list, a.Network) {
			list = append(list, a.Network)
		}
	}
	return list
}

// followGiven makes the guards of links what the addresses of the host say by now.
// m.order is held.
func (m *Manager) followGiven() error {
	addresses, err := m.host.Addresses()
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range m.managed("") {
		after := *n
		if after.Given = n.given(addresses); slices.Equal(after.Given, n.Given) {
			continue
		}
		table, err := m.table()
		if err != nil {
			return err
		}
		err = table.Change(nft.Rules{Links: []nft.Link{m.guardOf(n)}}, nft.Rules{Links: []nft.Link{m.guardOf(&after)}})
		if err == nil {
			err = m.put(&after)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("link %s: %w", n.Link, err))
		}
	}
	return errors.Join(failed...)
}
