package unit

import (
	"context"
	"maps"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// Properties returns all properties of a unit, those of its type as well. PID 1
// loads the unit for it if need be. Of a unit that there is not it returns what
// such a unit would begin with; LoadState says so.
func (m *Manager) Properties(ctx context.Context, name string) (map[string]dbus.Variant, error) {
	to := bus.Target{Name: busName, Path: unitPaths + "/" + dbus.ObjectPath(machine1.EscapeLabel(name))}
	var calls []*dbus.Call
	for _, iface := range []string{unitInterface, typeInterface(name)} {
		call, err := bus.Go(ctx, m.conn, to, propsInterface+".GetAll", false, []any{iface})
		if err != nil {
			return nil, err
		}
		calls = append(calls, call)
	}
	all := map[string]dbus.Variant{}
	for _, call := range calls {
		var some map[string]dbus.Variant
		if err := bus.Wait(ctx, call, &some); err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	return all, nil
}

// typeInterface returns the interface of units like the one called name.
func typeInterface(name string) string {
	suffix := name[strings.LastIndexByte(name, '.')+1:]
	if suffix == "" {
		return serviceInterface
	}
	return busName + "." + strings.ToUpper(suffix[:1]) + suffix[1:]
}

// SetProperties changes properties of a loaded unit, all of them or none, for as
// long as it is loaded or this boot lasts. The error is machine1.ErrNoSuchUnit
// if PID 1 does not know the unit.
func (m *Manager) SetProperties(ctx context.Context, name string, props []machine1.Property) error {
	const runtime = true
	return noSuchUnit(m.call(ctx, "SetUnitProperties", []any{name, runtime, props}))
}

// Reload has PID 1 read the files of units again. It takes a while: 0.1 s and
// more.
func (m *Manager) Reload(ctx context.Context) error { return m.call(ctx, "Reload", nil) }
