package machine

import (
	"context"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// ByPID returns the machine that p belongs to: the one it leads, else the one
// that owns its unit, else that of its parent. p stays the caller's.
//
// Reference: machined-core.c, manager_get_machine_by_pidref [259].
func (m *Manager) ByPID(ctx context.Context, p *proc.PIDFD) (Machine, error) {
	view := m.View()
	for at := p; at != nil; {
		found, ok := m.of(view, at)
		parent := (*proc.PIDFD)(nil)
		if !ok && ctx.Err() == nil {
			parent, _ = at.Parent()
		}
		if at != p {
			at.Close()
		}
		if ok {
			return found, nil
		}
		at = parent
	}
	return Machine{}, machine1.Errorf(machine1.ErrNoMachineForPID,
		"PID %d does not belong to any known machine", p.PID())
}

// of returns the machine in view that p itself leads, or that owns its unit.
func (m *Manager) of(view *View, p *proc.PIDFD) (Machine, bool) {
	if led, ok := view.ByLeader(p.PID(), p.ID()); ok {
		return led, true
	}
	cgroup, err := p.Cgroup()
	if err != nil {
		return Machine{}, false
	}
	name, _, err := m.unitOf(cgroup)
	if err != nil {
		return Machine{}, false
	}
	return view.ByUnit(name)
}
