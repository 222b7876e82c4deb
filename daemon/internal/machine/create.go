package machine

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machine1"
)

const jobDone = "done"

// Create records a machine and has PID 1 move its leader into a scope of its
// own, with the properties in scope after ours. If wait is set it returns when
// PID 1 has done so, and otherwise as soon as PID 1 has agreed to. Either way
// the machine was announced before, in the state opening.
//
// Reference: machined-dbus.c, method_create_machine.
func (m *Manager) Create(ctx context.Context, r Registration, scope []machine1.Property, wait bool) (Machine, error) {
	added, err := m.create(ctx, r, scope)
	if err != nil || !wait {
		return added, err
	}
	return m.opened(ctx, added)
}

func (m *Manager) create(ctx context.Context, r Registration, scope []machine1.Property) (_ Machine, err error) {
	defer closeUnlessKept(r, &err)

	if err := r.check(); err != nil {
		return Machine{}, err
	}
	newcomer := r.machine()
	newcomer.Unit = machine1.ScopeName(r.Name)
	m.evict(ctx, newcomer)
	// PID 1 is asked without the lock, so nobody else may get as far as asking
	// it about this name or this leader.
	newcomer, release, err := m.registry.Reserve(newcomer)
	if err != nil {
		return Machine{}, err
	}
	defer release()
	return m.addWithScope(ctx, newcomer, scope)
}

// addWithScope starts the scope and records the machine. A machine that is not
// recorded is left as it was but for its cgroup: neither the scope nor the
// supervisor is told to stop.
func (m *Manager) addWithScope(ctx context.Context, newcomer Machine, scope []machine1.Property) (Machine, error) {
	job, err := m.startScope(ctx, newcomer, scope)
	if err != nil {
		if ctx.Err() != nil {
			// PID 1 may have got the message without us getting the answer.
			m.unref(ctx, newcomer.Unit)
		}
		return Machine{}, err
	}
	newcomer.ScopeJob, newcomer.referenced = job, true
	added, err := m.add(ctx, newcomer)
	if err != nil {
		m.unref(ctx, newcomer.Unit)
		return Machine{}, err
	}
	m.work.do(func(ctx context.Context) { m.finishScope(ctx, added) })
	return added, nil
}

// finishScope waits for the job that starts the scope. It waits for this job
// only: if the machine is terminated meanwhile, ScopeJob is another one.
func (m *Manager) finishScope(ctx context.Context, added Machine) {
	result, err := m.units.WaitJob(ctx, added.ScopeJob)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			m.log.Warn("Lost track of the job that starts a machine's scope.", "machine", added.Name, "error", err)
		}
	case result == jobDone:
		m.endJob(added)
		close(added.life.opened)
	default:
		m.drop(ctx, added, machine1.Errorf(machine1.ErrJobFailed,
			"Start job for unit %s failed with '%s'", added.Unit, result))
	}
}

// opened waits for finishScope. When ctx ends first, the machine lives on.
func (m *Manager) opened(ctx context.Context, added Machine) (Machine, error) {
	select {
	case <-added.life.opened:
	case <-added.life.gone:
		if added.life.cause != nil {
			return Machine{}, added.life.cause
		}
		return Machine{}, machine1.Errorf(machine1.ErrNoSuchMachine,
			"Machine '%s' ended before its scope was started", added.Name)
	case <-ctx.Done():
		return Machine{}, fmt.Errorf("cannot wait for the scope of machine %q: %w", added.Name, ctx.Err())
	}
	if now, ok := m.View().Get(added.Name); ok && now.generation == added.generation {
		return now, nil
	}
	added.ScopeJob = ""
	return added, nil
}
