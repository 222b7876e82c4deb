package unit

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
)

const serviceInterface = "org.freedesktop.systemd1.Service"

// Start starts a unit that has a file and returns the job that does so. The
// error is machine1.ErrNoSuchUnit if PID 1 finds none.
func (m *Manager) Start(ctx context.Context, name, mode string) (dbus.ObjectPath, error) {
	var job dbus.ObjectPath
	err := m.call(ctx, "StartUnit", []any{name, mode}, &job)
	return own(job), noSuchUnit(err)
}

// Restart stops a unit, starts it again, and returns the job that does both.
func (m *Manager) Restart(ctx context.Context, name, mode string) (dbus.ObjectPath, error) {
	var job dbus.ObjectPath
	err := m.call(ctx, "RestartUnit", []any{name, mode}, &job)
	return own(job), noSuchUnit(err)
}

// Ref makes this connection hold the unit, until Unref or the connection's end:
// PID 1 forgets how a unit ended that nobody holds.
func (m *Manager) Ref(ctx context.Context, name string) error {
	return noSuchUnit(m.call(ctx, "RefUnit", []any{name}))
}

// ResetFailed makes PID 1 forget that a unit failed, and how often it started.
func (m *Manager) ResetFailed(ctx context.Context, name string) error {
	return noSuchUnit(m.call(ctx, "ResetFailedUnit", []any{name}))
}

// A Run is one run of a service, the last one or the one that goes on.
type Run struct {
	State      string // active, activating, deactivating, inactive, failed, …
	Result     string // success, exit-code, signal, timeout, start-limit-hit, …
	MainPID    uint32
	ExitCode   int32    // how its main process ended: CLD_EXITED and so on, 0 if it did not
	ExitStatus int32    // with which status or by which signal
	Invocation [16]byte // selects its log lines
	HasJob     bool     // something is to be done with it
}

// LastRun tells of a service's run. machine1.ErrNoSuchUnit says that PID 1 does
// not know the unit, and so nothing of how it ended.
func (m *Manager) LastRun(ctx context.Context, name string) (r Run, err error) {
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return Run{}, noSuchUnit(err)
	}
	var ofUnit, ofService map[string]dbus.Variant
	to := bus.Target{Name: busName, Path: path}
	// The state comes last: whoever finds no main process finds out why.
	for _, of := range []struct {
		iface string
		all   *map[string]dbus.Variant
	}{{serviceInterface, &ofService}, {unitInterface, &ofUnit}} {
		if err := bus.Call(ctx, m.conn, to, propsInterface+".GetAll", false, []any{of.iface}, of.all); err != nil {
			return Run{}, noSuchUnit(err)
		}
	}
	r.State, _ = ofUnit["ActiveState"].Value().(string)
	if id, ok := ofUnit["InvocationID"].Value().([]byte); ok {
		copy(r.Invocation[:], id)
	}
	if job, ok := ofUnit["Job"].Value().([]any); ok && len(job) > 0 {
		id, _ := job[0].(uint32)
		r.HasJob = id != 0
	}
	r.Result, _ = ofService["Result"].Value().(string)
	r.MainPID, _ = ofService["MainPID"].Value().(uint32)
	r.ExitCode, _ = ofService["ExecMainCode"].Value().(int32)
	r.ExitStatus, _ = ofService["ExecMainStatus"].Value().(int32)
	return r, nil
}
