package unit

import (
	"context"

	"github.com/godbus/dbus/v5"
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

// Thaw lets a unit go on that was frozen. The error is machine1.ErrNoSuchUnit if
// PID 1 does not know it.
func (m *Manager) Thaw(ctx context.Context, name string) error {
	return noSuchUnit(m.call(ctx, "ThawUnit", []any{name}))
}

// A Run is one run of a service, the last one or the one that goes on.
type Run struct {
	Type       string // simple, notify, …: when it counts as started
	State      string // active, activating, deactivating, inactive, failed, …
	Result     string // success, exit-code, signal, timeout, start-limit-hit, …
	MainPID    uint32
	LastPID    uint32   // of the main process, also when that has ended; 0 if there was none
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
	for {
		// The state comes last, and whoever finds no main process finds out why.
		// It comes first as well: the rest is final if it was over by then.
		v, err := m.values(ctx, path, property{unitInterface, "ActiveState"}, property{serviceInterface, "MainPID"},
			property{serviceInterface, "ExecMainCode"}, property{serviceInterface, "ExecMainStatus"}, property{serviceInterface, "Result"},
			property{unitInterface, "InvocationID"}, property{unitInterface, "Job"}, property{serviceInterface, "Type"},
			property{serviceInterface, "ExecMainPID"}, property{unitInterface, "ActiveState"})
		if err != nil {
			return Run{}, err
		}
		before, _ := v[0].(string)
		r.MainPID, _ = v[1].(uint32)
		r.ExitCode, _ = v[2].(int32)
		r.ExitStatus, _ = v[3].(int32)
		r.Result, _ = v[4].(string)
		if id, ok := v[5].([]byte); ok {
			copy(r.Invocation[:], id)
		}
		r.HasJob = hasJob(v[6])
		r.Type, _ = v[7].(string)
		r.LastPID, _ = v[8].(uint32)
		r.State, _ = v[9].(string)
		if r.State == before {
			return r, nil
		}
	}
}
