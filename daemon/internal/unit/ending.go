package unit

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
)

// An Ending is what matters about a unit to whoever wants to end it.
type Ending struct {
	State       string // active, activating, deactivating, inactive, failed, …
	HasJob      bool   // PID 1 is about to do something with it
	RefusesStop bool   // PID 1 does not stop or restart it when asked to
	ComesBack   bool   // PID 1 starts it again when it ends, however it does
	MainPID     uint32 // of a service, 0 if it has none
}

// Ending tells about a loaded unit. The error is machine1.ErrNoSuchUnit if PID 1
// does not know it.
func (m *Manager) Ending(ctx context.Context, name string) (e Ending, err error) {
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return Ending{}, noSuchUnit(err)
	}
	to := bus.Target{Name: busName, Path: path}
	all := map[string]dbus.Variant{}
	if err := bus.Call(ctx, m.conn, to, propsInterface+".GetAll", false, []any{unitInterface}, &all); err != nil {
		return Ending{}, noSuchUnit(err)
	}
	e.State, _ = all["ActiveState"].Value().(string)
	e.RefusesStop, _ = all["RefuseManualStop"].Value().(bool)
	var job struct {
		ID   uint32
		Path dbus.ObjectPath
	}
	e.HasJob = dbus.Store([]any{all["Job"].Value()}, &job) == nil && job.ID != 0
	if typeInterface(name) != serviceInterface {
		return e, nil
	}
	err = bus.Call(ctx, m.conn, to, propsInterface+".GetAll", false, []any{serviceInterface}, &all)
	restart, _ := all["Restart"].Value().(string)
	e.ComesBack = restart == "always" || restart == "on-success"
	e.MainPID, _ = all["MainPID"].Value().(uint32)
	return e, noSuchUnit(err)
}

// RefusesStop reports whether PID 1 refuses to stop the unit when it is asked
// to. The error is machine1.ErrNoSuchUnit if PID 1 does not know it.
func (m *Manager) RefusesStop(ctx context.Context, name string) (bool, error) {
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return false, noSuchUnit(err)
	}
	var value dbus.Variant
	to := bus.Target{Name: busName, Path: path}
	err := bus.Call(ctx, m.conn, to, propsInterface+".Get", false, []any{unitInterface, "RefuseManualStop"}, &value)
	refuses, _ := value.Value().(bool)
	return refuses, noSuchUnit(err)
}

// ListActive returns the names of the loaded units that match pattern and are
// active.
func (m *Manager) ListActive(ctx context.Context, pattern string) ([]string, error) {
	var list []struct {
		Name, Description, Load, Active, Sub, Following string
		Path                                            dbus.ObjectPath
		JobID                                           uint32
		JobType                                         string
		Job                                             dbus.ObjectPath
	}
	err := m.call(ctx, "ListUnitsByPatterns", []any{[]string{"active"}, []string{pattern}}, &list)
	names := make([]string, len(list))
	for i, u := range list {
		names[i] = u.Name
	}
	return names, err
}
