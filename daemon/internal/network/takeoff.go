package network

import (
	"context"
	"errors"
	"slices"

	"github.com/machd/machd/daemon/internal/link"
)

// TakeOff takes off the host what it does for the networks of machines, ended ones
// or not, for when no daemon goes on with them: their ports, and their way out.
// Those that run keep their links to the host.
func (m *Manager) TakeOff(ctx context.Context) error {
	m.order.Lock()
	defer m.order.Unlock()
	if err := m.clear(); err != nil {
		return err
	}
	records, err := m.records.all()
	failed := []error{err}
	for _, n := range records {
		if n.ours() {
			_, err := m.host.DropAddresses(addrsOf(n.addresses())...)
			failed = append(failed, err)
		}
		failed = append(failed, m.records.remove(n.Machine))
	}
	links, err := m.host.Links()
	// The bridge of a zone may outlive its machines, and has a port for each.
	if err == nil && !slices.ContainsFunc(links, func(l link.Link) bool { return isOurs(l.Name) && l.Kind != "bridge" }) {
		m.others.keepOff(ctx, func() []string { return nil }) // who would change links of those that run
	}
	return errors.Join(append(failed, err)...)
}
