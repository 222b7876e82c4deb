package unit

import (
	"context"
	"fmt"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// matches are what PID 1 and the bus are to send us.
var matches = [][]dbus.MatchOption{
	managerSignal("JobRemoved"),
	managerSignal("UnitRemoved"),
	managerSignal("Reloading"),
	{
		dbus.WithMatchSender(busName),
		dbus.WithMatchPathNamespace(unitPaths),
		dbus.WithMatchInterface(propsInterface),
		dbus.WithMatchMember("PropertiesChanged"),
	},
	{
		dbus.WithMatchSender(busDaemon.Name),
		dbus.WithMatchInterface(busDaemon.Name),
		dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, busName),
	},
}

func managerSignal(member string) []dbus.MatchOption {
	return []dbus.MatchOption{
		dbus.WithMatchSender(busName),
		dbus.WithMatchObjectPath(managerPath),
		dbus.WithMatchInterface(managerInterface),
		dbus.WithMatchMember(member),
	}
}

var busDaemon = bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}

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

// listen begins to receive signals: first the matches, then the subscription,
// or the first signals would be missed.
func (m *Manager) listen(ctx context.Context) error {
	for _, match := range matches {
		if err := m.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return fmt.Errorf("cannot watch units: %w", machine1.FromBus(err))
		}
	}
	err := bus.Call(ctx, m.conn, busDaemon, busDaemon.Name+".GetNameOwner", false, []any{busName}, &m.source.owner)
	if err != nil {
		return fmt.Errorf("cannot find PID 1 on the bus: %w", err)
	}
	return m.subscribe(ctx)
}

// subscribe makes PID 1 send signals at all. It remembers who has subscribed
// when it executes itself anew.
func (m *Manager) subscribe(ctx context.Context) error {
	err := m.call(ctx, "Subscribe", nil)
	if err == nil || machine1.ErrorName(err) == "org.freedesktop.systemd1.AlreadySubscribed" {
		return nil
	}
	return fmt.Errorf("cannot subscribe to PID 1: %w", err)
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
