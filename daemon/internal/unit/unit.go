// Package unit is PID 1: starting, stopping and asking about units, and one
// ordered stream of what happens to them. It must not know what a unit is for.
package unit

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

const (
	busName          = "org.freedesktop.systemd1"
	managerPath      = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerInterface = "org.freedesktop.systemd1.Manager"
	unitInterface    = "org.freedesktop.systemd1.Unit"
	propsInterface   = "org.freedesktop.DBus.Properties"
)

// Errors of PID 1 that mean there is no such unit.
const (
	errNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"
	errLoadFailed = "org.freedesktop.systemd1.LoadFailed"
)

// A Manager talks to PID 1. Its methods may be called at any time; errors of
// PID 1 are *machine1.RemoteError. Only ctx limits how long a call takes.
type Manager struct {
	conn    *dbus.Conn
	log     *slog.Logger
	signals chan *dbus.Signal
	jobs    jobs
	watch   func(Event)
	// reloading is true from Reloading(true) to Reloading(false), when PID 1
	// announces the removal of units that will be back. Run's alone.
	reloading bool
}

// Connect asks PID 1 to send signals over conn, which the caller keeps.
func Connect(ctx context.Context, conn *dbus.Conn, log *slog.Logger) (*Manager, error) {
	m := &Manager{
		conn:    conn,
		log:     log,
		signals: make(chan *dbus.Signal),
		watch:   func(Event) {},
	}
	m.jobs.init()
	// The signals must be there before the matches are, and the matches before
	// the subscription, or the first signals are missed.
	conn.Signal(m.signals)
	for _, match := range matches {
		if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
			conn.RemoveSignal(m.signals)
			return nil, fmt.Errorf("cannot watch units: %w", machine1.FromBus(err))
		}
	}
	if err := m.subscribe(ctx); err != nil {
		conn.RemoveSignal(m.signals)
		return nil, err
	}
	return m, nil
}

// subscribe makes PID 1 send signals at all. It is bound to this connection
// and to this incarnation of PID 1.
func (m *Manager) subscribe(ctx context.Context) error {
	if err := m.call(ctx, "Subscribe", nil); err != nil {
		return fmt.Errorf("cannot subscribe to PID 1: %w", err)
	}
	return nil
}

// StartTransient has PID 1 make and start a unit, and returns the job that
// does so. props go out as they are and in their order; a dbus.UnixFD in them
// stays the caller's.
func (m *Manager) StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error) {
	type auxiliary struct {
		Name  string
		Props []machine1.Property
	}
	var job dbus.ObjectPath
	err := m.call(ctx, "StartTransientUnit", []any{name, mode, props, []auxiliary{}}, &job)
	return job, err
}

// Stop stops a unit and returns the job that does so. The error is
// machine1.ErrNoSuchUnit if PID 1 does not know the unit.
func (m *Manager) Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error) {
	var job dbus.ObjectPath
	err := m.call(ctx, "StopUnit", []any{name, mode}, &job)
	return job, noSuchUnit(name, err)
}

// Kill sends a signal to the processes of a unit that whom selects.
func (m *Manager) Kill(ctx context.Context, name, whom string, signal int32) error {
	return m.call(ctx, "KillUnit", []any{name, whom, signal})
}

// KillSubgroup is Kill for a cgroup below the unit's own. It needs systemd 258.
func (m *Manager) KillSubgroup(ctx context.Context, name, whom, subgroup string, signal int32) error {
	return m.call(ctx, "KillUnitSubgroup", []any{name, whom, subgroup, signal})
}

// Unref gives back the reference that AddRef made this connection hold.
func (m *Manager) Unref(ctx context.Context, name string) error {
	return m.call(ctx, "UnrefUnit", []any{name})
}

// ActiveState returns the unit's state. machine1.ErrNoSuchUnit says that PID 1
// does not know the unit; any other error says nothing about it.
func (m *Manager) ActiveState(ctx context.Context, name string) (string, error) {
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return "", noSuchUnit(name, err)
	}
	var state dbus.Variant
	err := bus.Call(ctx, m.conn, bus.Target{Name: busName, Path: path},
		propsInterface+".Get", false, []any{unitInterface, "ActiveState"}, &state)
	if err != nil {
		return "", noSuchUnit(name, err)
	}
	text, ok := state.Value().(string)
	if !ok {
		return "", fmt.Errorf("cannot understand the state of unit %q: it is a %s", name, state.Signature())
	}
	return text, nil
}

// JobExists reports whether the job still waits or runs.
func (m *Manager) JobExists(ctx context.Context, job dbus.ObjectPath) (bool, error) {
	var state dbus.Variant
	err := bus.Call(ctx, m.conn, bus.Target{Name: busName, Path: job},
		propsInterface+".Get", false, []any{"org.freedesktop.systemd1.Job", "State"}, &state)
	switch machine1.ErrorName(err) {
	case "org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.systemd1.NoSuchJob":
		return false, nil
	}
	return err == nil, err
}

func (m *Manager) call(ctx context.Context, member string, in []any, out ...any) error {
	return bus.Call(ctx, m.conn, bus.Target{Name: busName, Path: managerPath},
		managerInterface+"."+member, false, in, out...)
}

func noSuchUnit(name string, err error) error {
	if err == nil {
		return nil
	}
	switch machine1.ErrorName(err) {
	case errNoSuchUnit, errLoadFailed, "org.freedesktop.DBus.Error.UnknownObject":
		return fmt.Errorf("unit %q: %w", name, machine1.ErrNoSuchUnit)
	}
	return err
}
