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
	jobInterface     = "org.freedesktop.systemd1.Job"
	propsInterface   = "org.freedesktop.DBus.Properties"
)

// A Manager talks to PID 1. Its methods may be called at any time; errors of
// PID 1 are *machine1.RemoteError, with name and text as they came. Only ctx
// limits how long a call takes.
type Manager struct {
	conn    *dbus.Conn
	log     *slog.Logger
	signals chan *dbus.Signal
	jobs    jobs
	watch   []func(Event)

	// The rest is Run's alone.
	source source
}

// Connect asks PID 1 to send signals over conn, which is from bus.Dial and
// stays the caller's. They are kept until Run takes them. If PID 1 is not on
// the bus yet, Connect waits for it.
func Connect(ctx context.Context, conn *dbus.Conn, log *slog.Logger) (*Manager, error) {
	m := &Manager{
		conn: conn,
		log:  log,
		// The handler of bus.Dial's connections queues without a limit what the
		// channel does not take: signals neither get lost nor block the reader.
		signals: make(chan *dbus.Signal, signalBuffer),
		jobs:    newJobs(),
		source:  source{subscribed: make(chan error)},
	}
	conn.Signal(m.signals)
	if err := m.listen(ctx); err != nil {
		conn.RemoveSignal(m.signals)
		return nil, err
	}
	return m, nil
}

// signalBuffer spares the handler to move its queue for every signal.
const signalBuffer = 256

// StartTransient has PID 1 make and start a unit, and returns the job that
// does so. props go out as they are and in their order; a dbus.UnixFD in them
// stays the caller's, who may close it on return.
func (m *Manager) StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error) {
	type auxiliary struct {
		Name  string
		Props []machine1.Property
	}
	var job dbus.ObjectPath
	err := m.call(ctx, "StartTransientUnit", []any{name, mode, props, []auxiliary{}}, &job)
	return own(job), err
}

// Stop stops a unit and returns the job that does so. The error is
// machine1.ErrNoSuchUnit if PID 1 does not know the unit.
func (m *Manager) Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error) {
	var job dbus.ObjectPath
	err := m.call(ctx, "StopUnit", []any{name, mode}, &job)
	return own(job), noSuchUnit(err)
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
	// The object exists for every name: reading from it would make PID 1 load
	// the unit, and announce its removal afterwards. So ask first.
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return "", noSuchUnit(err)
	}
	state, err := m.property(ctx, path, unitInterface, "ActiveState")
	return state, noSuchUnit(err)
}

// HasProcesses reports whether a process is left in the unit, as PID 1 finds
// when it looks, which it may not have done since the last one ended.
func (m *Manager) HasProcesses(ctx context.Context, name string) (bool, error) {
	var processes []struct {
		Cgroup  string
		PID     uint32
		Command string
	}
	err := m.call(ctx, "GetUnitProcesses", []any{name}, &processes)
	return len(processes) > 0, noSuchUnit(err)
}

// JobExists reports whether the job still waits or runs. With an error it may.
//
// Reference: machined-dbus.c, manager_job_is_active.
func (m *Manager) JobExists(ctx context.Context, job dbus.ObjectPath) (bool, error) {
	_, err := m.property(ctx, job, jobInterface, "State")
	if err == nil {
		return true, nil
	}
	switch machine1.ErrorName(err) {
	case "org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.systemd1.NoSuchJob":
		return false, nil
	}
	return false, err
}

func (m *Manager) call(ctx context.Context, member string, in []any, out ...any) error {
	return bus.Call(ctx, m.conn, bus.Target{Name: busName, Path: managerPath},
		managerInterface+"."+member, false, in, out...)
}

func (m *Manager) property(ctx context.Context, path dbus.ObjectPath, iface, name string) (string, error) {
	var value dbus.Variant
	err := bus.Call(ctx, m.conn, bus.Target{Name: busName, Path: path},
		propsInterface+".Get", false, []any{iface, name}, &value)
	if err != nil {
		return "", err
	}
	text, ok := value.Value().(string)
	if !ok {
		return "", fmt.Errorf("cannot understand %s of %s: it is a %s", name, path, value.Signature())
	}
	return text, nil
}

// noSuchUnit makes a machine1.ErrNoSuchUnit of an error that means it.
func noSuchUnit(err error) error {
	if machine1.ErrorName(err) == "org.freedesktop.systemd1.LoadFailed" {
		return fmt.Errorf("%w: %w", machine1.ErrNoSuchUnit, err)
	}
	return err
}
