package network

import (
	"context"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
)

// UnitEvent takes note of what PID 1 says: what a start was told holds for as
// long as its unit is there, through restarts of the machine.
func (m *Manager) UnitEvent(e unit.Event) {
	switch e.Kind {
	case unit.Reloaded: // which it does not say all through
		m.ask()
	case unit.UnitRemoved:
		for _, n := range m.all() {
			if n.Unit == e.Unit && n.Kept {
				m.letGo(n)
			}
		}
	}
}

func (m *Manager) settleAll(ctx context.Context) {
	for _, n := range m.all() {
		m.settle(ctx, n)
	}
}

// settle drops what was kept for a unit that is gone. Where PID 1 has too much
// to do to tell, it is asked again later.
func (m *Manager) settle(ctx context.Context, n *network) {
	if !n.Kept {
		return
	}
	switch active, err := m.cfg.Active(ctx, n.Unit); {
	case err != nil:
		m.cfg.Log.Debug("Whether a unit is there is not known yet.", "unit", n.Unit, "error", err)
		m.ask()
	case !active:
		m.letGo(n)
	}
}

// ask has Run ask after all units.
func (m *Manager) ask() {
	select {
	case m.unsettled <- struct{}{}:
	default:
	}
}

// askPause is between two questions after the same units.
const askPause = time.Second

func (m *Manager) watchUnits(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.unsettled:
		}
		m.settleAll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askPause):
		}
	}
}

// letGo drops what was kept, unless it has become another one.
func (m *Manager) letGo(n *network) {
	if err := m.drop(n); err != nil {
		m.cfg.Log.Warn("The record of a network cannot be removed.", "machine", n.Machine, "error", err)
	}
}

// forget removes what a machine that has ended was shown.
func (m *Manager) forget(machine string) {
	if err := m.writeDown(machine); err != nil {
		m.cfg.Log.Warn("Something of a machine's network is left.", "machine", machine, "error", err)
	}
}
