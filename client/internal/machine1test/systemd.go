package machine1test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
	unitInterface  = "org.freedesktop.systemd1.Unit"
)

// StartSystemd puts a PID 1 on the bus that knows the world's units.
func (w *World) StartSystemd() error {
	conn, err := dbus.Connect(w.Address)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.systemd = conn
	w.mu.Unlock()
	if err := conn.ExportMethodTable(map[string]any{
		"Subscribe":        w.subscribe,
		"StartUnit":        w.startUnit,
		"FreezeUnit":       w.onUnit,
		"ThawUnit":         w.onUnit,
		"GetUnit":          w.getUnit,
		"LoadUnit":         w.loadUnit,
		"GetUnitProcesses": w.getUnitProcesses,
		"EnableUnitFiles":  w.enableUnitFiles,
		"DisableUnitFiles": w.disableUnitFiles,
		"Reload":           w.reload,
	}, systemdPath, systemdManager); err != nil {
		return err
	}
	if err := conn.ExportMethodTable(map[string]any{"Get": w.getOfSystemd}, systemdPath, properties); err != nil {
		return err
	}
	if err := conn.ExportSubtreeMethodTable(map[string]any{"Get": w.getOfUnit}, systemdPath+"/unit", properties); err != nil {
		return err
	}
	return own(conn, systemdName)
}

// StopSystemd takes PID 1 off the bus.
func (w *World) StopSystemd() {
	w.mu.Lock()
	conn := w.systemd
	w.systemd = nil
	w.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// SetUnit tells PID 1 about a unit.
func (w *World) SetUnit(name string, u Unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Properties == nil {
		u.Properties = map[string]any{}
	}
	w.units[name] = u
}

// ThrowawayCommand is ExecStart= of the unit of a machine that throws its root
// away, which is made of an image.
func ThrowawayCommand(image string) any {
	type command struct {
		Path                 string
		Argv                 []string
		Ignore               bool
		A, B, C, D           uint64 // times
		PID                  uint32
		ExitCode, ExitStatus int32
	}
	argv := []string{"/machd", machd.MakeThrowaway, machine1.PoolPath, "m", image, "pick", "systemd-nspawn"}
	return []command{{Path: argv[0], Argv: argv}}
}

// SetUnitState changes a unit's ActiveState and announces that.
func (w *World) SetUnitState(name, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setUnitLocked(name, "ActiveState", state)
}

// setUnitLocked changes one property of a unit that PID 1 knows and announces
// that. The caller holds mu.
func (w *World) setUnitLocked(name, property string, value any) {
	u, ok := w.units[name]
	if !ok || w.systemd == nil {
		return
	}
	u.Properties = maps.Clone(u.Properties)
	u.Properties[property] = value
	w.units[name] = u
	w.systemd.Emit(unitPath(name), properties+".PropertiesChanged", unitInterface,
		map[string]dbus.Variant{property: dbus.MakeVariant(value)}, []string{})
}

func (w *World) unit(name string) (Unit, *dbus.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, ok := w.units[name]
	if !ok {
		return u, Error("org.freedesktop.systemd1.NoSuchUnit", "Unit %s not loaded.", name)
	}
	return u, nil
}

func (w *World) onUnit(msg dbus.Message, name string) *dbus.Error {
	if err := w.enter(msg, name); err != nil {
		return err
	}
	_, err := w.unit(name)
	return err
}

func unitPath(name string) dbus.ObjectPath {
	return systemdPath + "/unit/" + dbus.ObjectPath(machine1.EscapeLabel(name))
}

func (w *World) subscribe(msg dbus.Message, sender dbus.Sender) *dbus.Error {
	if err := w.enter(msg); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subscribers[sender] {
		return Error("org.freedesktop.systemd1.AlreadySubscribed", "Client is already subscribed.")
	}
	w.subscribers[sender] = true
	return nil
}

// startUnit ends the job at once, so JobRemoved always overtakes the reply.
func (w *World) startUnit(msg dbus.Message, name, mode string) (dbus.ObjectPath, *dbus.Error) {
	if err := w.enter(msg, name, mode); err != nil {
		return "/", err
	}
	w.mu.Lock()
	w.jobs++
	id := w.jobs
	result := w.units[name].JobResult
	w.mu.Unlock()
	if result == "" {
		result = "done"
		w.started(name)
	}
	job := dbus.ObjectPath(fmt.Sprintf("%s/job/%d", systemdPath, id))
	w.mu.Lock()
	conn := w.systemd
	w.mu.Unlock()
	if result != "never" && conn != nil {
		conn.Emit(systemdPath, systemdManager+".JobRemoved", id, job, name, result)
	}
	return job, nil
}

// started is what a unit of the template does: its machine is registered.
func (w *World) started(unit string) {
	if name, ok := strings.CutPrefix(unit, "systemd-nspawn@"); ok {
		w.startedAs(strings.TrimSuffix(name, ".service"), unit)
	}
}

// startedAs registers the machine that a unit runs.
func (w *World) startedAs(name, unit string) {
	w.SetUnit(unit, Unit{Properties: map[string]any{"ActiveState": "active"}})
	m := C8NS()
	m.Name = name
	m.Properties["Unit"] = unit
	w.Add(m)
}

func (w *World) getUnit(msg dbus.Message, name string) (dbus.ObjectPath, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return "/", err
	}
	_, err := w.unit(name)
	return unitPath(name), err
}

func (w *World) loadUnit(msg dbus.Message, name string) (dbus.ObjectPath, *dbus.Error) {
	return unitPath(name), w.enter(msg, name)
}

func (w *World) getUnitProcesses(msg dbus.Message, name string) ([]Process, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return nil, err
	}
	u, err := w.unit(name)
	return append([]Process{}, u.Processes...), err
}

// SetSystemdVersion says which systemd PID 1 is.
func (w *World) SetSystemdVersion(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.systemdVersion = version
}

func (w *World) getOfSystemd(msg dbus.Message, iface, property string) (dbus.Variant, *dbus.Error) {
	if err := w.enter(msg, iface, property); err != nil {
		return dbus.MakeVariant(""), err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if property != "Version" || w.systemdVersion == "" {
		return dbus.MakeVariant(""), Error("org.freedesktop.DBus.Error.UnknownProperty", "Unknown property %s", property)
	}
	return dbus.MakeVariant(w.systemdVersion), nil
}

func (w *World) getOfUnit(msg dbus.Message, iface, property string) (dbus.Variant, *dbus.Error) {
	if err := w.enter(msg, iface, property); err != nil {
		return dbus.MakeVariant(""), err
	}
	u, err := w.unit(nameOf(msg))
	if err != nil {
		// PID 1 answers for units it has not loaded, with defaults.
		u = Unit{Properties: map[string]any{"ActiveState": "inactive", "ControlGroup": ""}}
	}
	value, ok := u.Properties[property]
	if !ok {
		return dbus.MakeVariant(""), Error("org.freedesktop.DBus.Error.UnknownProperty", "Unknown property %s", property)
	}
	return dbus.MakeVariant(value), nil
}

// AddProcess puts a process into a unit that PID 1 knows.
func (w *World) AddProcess(unit string, p Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.units[unit]
	u.Processes = append(slices.Clone(u.Processes), p)
	w.units[unit] = u
}
