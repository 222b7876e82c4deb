package network

import (
	"context"
	"slices"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// keepOthersOff has the host's network managers leave links alone: those of all
// machines, or where the administrator wants them to go on, those of machines that
// were told addresses, and more.
func (m *Manager) keepOthersOff(ctx context.Context, more ...string) {
	m.others.keepOff(ctx, func() []string {
		if m.choices.manage {
			return []string{"ve-*", "vz-*"}
		}
		links := slices.Concat(more, m.toldLinks())
		for _, n := range m.all() {
			if n.ours() && n.Kind != machd.LinkBridge {
				links = append(links, n.Link)
			}
		}
		slices.Sort(links)
		return slices.Compact(links)
	})
}

// toldLinks returns the links of machines whose settings have addresses. Who
// begins with one when it comes is quicker than we are, so they are told before.
func (m *Manager) toldLinks() (links []string) {
	for _, name := range m.cfg.Paths.machines() {
		settings, err := m.cfg.Paths.settings(name)
		if err != nil || settings == nil {
			continue
		}
		w, err := wishOf(machd.NetworkOptions{}, settings)
		if err != nil || w.unwanted || len(w.addresses) == 0 {
			continue
		}
		r := Request{Machine: name, Kind: machd.LinkVeth}
		if zone, ok := settings.Value("Network", "Zone"); ok {
			r.Kind, r.Shared = machd.LinkZone, zone
		}
		if machine1.ValidMachineName(name) && (r.Kind == machd.LinkVeth || machine1.ValidMachineName(r.Shared)) {
			links = append(links, linkName(r))
		}
	}
	return links
}
