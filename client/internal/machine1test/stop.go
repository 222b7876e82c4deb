package machine1test

import (
	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// stopMachine ends machines at once; those that are deaf by their units.
func (w *World) stopMachine(msg dbus.Message, name string, o map[string]dbus.Variant) (string, *dbus.Error) {
	m, err := w.ending(msg, name, o)
	if err != nil {
		return "", err
	}
	w.Remove(name)
	if m.Deaf {
		return machd.StopUnit, nil
	}
	return machd.StopPowerOff, nil
}

// terminateAndWait is machd's own way to terminate a machine.
func (w *World) terminateAndWait(msg dbus.Message, name string, o map[string]dbus.Variant) (string, *dbus.Error) {
	if _, err := w.ending(msg, name, o); err != nil {
		return "", err
	}
	w.Remove(name)
	return machd.StopUnit, nil
}

func (w *World) restartMachine(msg dbus.Message, name string, o map[string]dbus.Variant) (unit, state, note string, err *dbus.Error) {
	m, err := w.ending(msg, name, o)
	if err != nil {
		return "", "", "", err
	}
	w.Remove(name)
	w.Add(m)
	unit, _ = m.Properties["Unit"].(string)
	return unit, machd.StateReady, "", nil
}

func (w *World) ending(msg dbus.Message, name string, o map[string]dbus.Variant) (Machine, *dbus.Error) {
	if err := w.enter(msg, name, o); err != nil {
		return Machine{}, err
	}
	m, err := w.find(name)
	if err == nil && m.Class == "host" {
		err = Error("org.freedesktop.DBus.Error.NotSupported", "The host cannot be ended as a machine")
	}
	return m, err
}

func (w *World) waitMachine(msg dbus.Message, name string, o map[string]dbus.Variant) (state, note string, err *dbus.Error) {
	if err := w.enter(msg, name, o); err != nil {
		return "", "", err
	}
	m, err := w.find(name)
	if err != nil {
		return "", "", err
	}
	if m.Deaf {
		return machd.StateReady, "its init is not systemd", nil
	}
	return machd.StateReady, "", nil
}
