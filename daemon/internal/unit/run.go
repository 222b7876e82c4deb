package unit

import (
	"context"
	"fmt"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// source is what Run knows of where the signals come from.
type source struct {
	// owner is PID 1's unique name. Any user of the system bus may send us
	// signals that look like PID 1's.
	owner string
	// reloading is true from Reloading(true) to Reloading(false), when PID 1
	// announces the removal of units that will be back.
	reloading bool
	// deaf is true if PID 1 has come back and could not be subscribed to.
	deaf bool
	// subscribed tells how subscribing again went.
	subscribed chan error
}

// Watch has fn called for every event, in order, from Run's goroutine. It must
// be called before Run, and fn must not block.
func (m *Manager) Watch(fn func(Event)) { m.watch = append(m.watch, fn) }

// Run takes in signals until ctx ends, or returns an error once the connection
// is lost.
func (m *Manager) Run(ctx context.Context) error {
	defer m.conn.RemoveSignal(m.signals)
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-m.source.subscribed:
			m.resubscribed(err)
		case s, ok := <-m.signals:
			if !ok && ctx.Err() != nil {
				return nil
			}
			if !ok {
				return fmt.Errorf("the connection to PID 1 is lost: %w", machine1.ErrDisconnected)
			}
			if m.take(s) {
				calls.Go(func() { m.resubscribe(ctx) })
			}
		}
	}
}

// take handles one signal. It reports whether PID 1 is to be subscribed to
// again, which needs a goroutine of its own: the reply may stand behind signals.
func (m *Manager) take(s *dbus.Signal) (subscribe bool) {
	switch {
	case s.Sender == busDaemon.Name:
		return m.takeOwner(s)
	case s.Sender != m.source.owner:
		return false
	case s.Name == managerInterface+".Reloading":
		return m.takeReloading(s)
	}
	e, ok := eventOf(s)
	if !ok || e.Kind == UnitRemoved && m.source.reloading {
		return false
	}
	if e.Kind == JobRemoved {
		m.jobs.removed(e.Job, e.Result)
	}
	m.tell(e)
	return false
}

// takeOwner follows PID 1 when it comes back to the bus under another unique
// name. Whether it has finished reloading is for it to say.
func (m *Manager) takeOwner(s *dbus.Signal) (subscribe bool) {
	var name, before, now string
	if s.Name != busDaemon.Name+".NameOwnerChanged" || !read(s, &name, &before, &now) || name != busName {
		return false
	}
	m.source.owner = now
	return now != ""
}

func (m *Manager) takeReloading(s *dbus.Signal) (subscribe bool) {
	if !read(s, &m.source.reloading) || m.source.reloading {
		return false
	}
	m.tell(Event{Kind: Reloaded})
	return m.source.deaf
}

func (m *Manager) resubscribe(ctx context.Context) {
	err := m.subscribe(ctx)
	select {
	case m.source.subscribed <- err:
	case <-ctx.Done():
	}
}

// resubscribed has everybody look at every unit, as nothing was said between
// PID 1's going and the new subscription. If that failed, the end of reloading
// is the next chance.
func (m *Manager) resubscribed(err error) {
	m.source.deaf = err != nil
	if err != nil {
		m.log.Warn("PID 1 has come back and does not take a subscription", "error", err)
	}
	m.tell(Event{Kind: Reloaded})
}

func (m *Manager) tell(e Event) {
	for _, fn := range m.watch {
		fn(e)
	}
}
