package unit

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
)

// A property is one of an object's, in an interface.
type property struct{ iface, name string }

// values reads properties of the loaded unit at path. PID 1 answers in their
// order, and what happens meanwhile it may tell in between. All of a unit's it
// would look into every directory of units for, to tell whether it has read all.
func (m *Manager) values(ctx context.Context, path dbus.ObjectPath, list ...property) ([]any, error) {
	to := bus.Target{Name: busName, Path: path}
	calls := make([]*dbus.Call, len(list))
	for i, p := range list {
		var err error
		if calls[i], err = bus.Go(ctx, m.conn, to, propsInterface+".Get", false, []any{p.iface, p.name}); err != nil {
			return nil, err
		}
	}
	values := make([]any, len(list))
	for i, call := range calls {
		var v dbus.Variant
		if err := bus.Wait(ctx, call, &v); err != nil {
			return nil, noSuchUnit(err)
		}
		values[i] = v.Value()
	}
	return values, nil
}

// hasJob understands the property Job.
func hasJob(value any) bool {
	job, ok := value.([]any)
	if !ok || len(job) == 0 {
		return false
	}
	id, _ := job[0].(uint32)
	return id != 0
}
