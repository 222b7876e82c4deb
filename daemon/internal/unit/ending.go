package unit

import (
	"context"
	"errors"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// An Ending is what matters about a unit to whoever wants to end it.
type Ending struct {
	State       string // active, activating, deactivating, inactive, failed, …
	HasJob      bool   // PID 1 is about to do something with it
	RefusesStop bool   // PID 1 does not stop or restart it when asked to
	Frozen      bool   // its processes do not run until it is thawed
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
	list := []property{
		{unitInterface, "ActiveState"}, {unitInterface, "RefuseManualStop"}, {unitInterface, "Job"}, {unitInterface, "FreezerState"},
	}
	isService := typeInterface(name) == serviceInterface
	if isService {
		list = append(list, property{serviceInterface, "Restart"}, property{serviceInterface, "MainPID"})
	}
	v, err := m.values(ctx, path, list...)
	if err != nil {
		return Ending{}, err
	}
	e.State, _ = v[0].(string)
	e.RefusesStop, _ = v[1].(bool)
	e.HasJob = hasJob(v[2])
	freezer, _ := v[3].(string)
	e.Frozen = freezer != "" && freezer != "running"
	if isService {
		restart, _ := v[4].(string)
		e.ComesBack = restart == "always" || restart == "on-success"
		e.MainPID, _ = v[5].(uint32)
	}
	return e, nil
}

// IsOver reports whether the unit neither runs nor is about to: one that waits
// for its turn to start is inactive, too.
func (m *Manager) IsOver(ctx context.Context, name string) (bool, error) {
	e, err := m.Ending(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchUnit) {
		return true, nil
	}
	return (e.State == "inactive" || e.State == "failed") && !e.HasJob, err
}

// RefusesStop reports whether PID 1 refuses to stop the unit when it is asked
// to. The error is machine1.ErrNoSuchUnit if PID 1 does not know it.
func (m *Manager) RefusesStop(ctx context.Context, name string) (bool, error) {
	var path dbus.ObjectPath
	if err := m.call(ctx, "GetUnit", []any{name}, &path); err != nil {
		return false, noSuchUnit(err)
	}
	v, err := m.values(ctx, path, property{unitInterface, "RefuseManualStop"})
	if err != nil {
		return false, err
	}
	refuses, _ := v[0].(bool)
	return refuses, nil
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
