package unit

import (
	"context"
	"errors"
	"fmt"

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

// listen begins to receive signals: first the matches, then the subscription,
// or the first signals would be missed.
func (m *Manager) listen(ctx context.Context) error {
	for _, match := range matches {
		if err := m.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return fmt.Errorf("cannot watch units: %w", machine1.FromBus(err))
		}
	}
	if err := m.findOwner(ctx); err != nil {
		return fmt.Errorf("cannot find PID 1 on the bus: %w", err)
	}
	return m.subscribe(ctx)
}

// findOwner waits until PID 1 is on the bus: at boot it comes there after the
// first clients.
func (m *Manager) findOwner(ctx context.Context) error {
	err := bus.Call(ctx, m.conn, busDaemon, busDaemon.Name+".GetNameOwner", false, []any{busName}, &m.source.owner)
	if !errors.Is(err, machine1.ErrServiceUnknown) {
		return err
	}
	m.log.Info("waiting for PID 1 to come to the bus")
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", machine1.ErrTimeout, ctx.Err())
		case s, ok := <-m.signals:
			if !ok {
				return machine1.ErrDisconnected
			}
			if s.Sender == busDaemon.Name && m.takeOwner(s) {
				return nil
			}
		}
	}
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
