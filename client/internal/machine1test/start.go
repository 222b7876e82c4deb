package machine1test

import (
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// startMachine starts what there is an image for, in a unit of the machine's
// own unless PID 1 knows the template's. The unit's properties may have Note,
// what machd has to say, and Log, the lines of a failure.
func (w *World) startMachine(msg dbus.Message, name string, o map[string]dbus.Variant) (unit, state, note string, err *dbus.Error) {
	if err := w.enter(msg, name, o); err != nil {
		return "", "", "", err
	}
	parsed, invalid := machd.ParseStartOptions(o)
	if invalid != nil {
		return "", "", "", dbus.NewError(machine1.ErrorName(invalid), []any{invalid.Error()})
	}
	if m, ok := w.Machine(name); ok {
		unit, _ := m.Properties["Unit"].(string)
		if parsed.Wait, parsed.WaitTimeout = "", 0; len(parsed.Variants()) > 0 {
			return "", "", "", Error("org.freedesktop.machine1.MachineExists", "Machine '%s' is running already, in %s, registered by %s", name, unit, m.Service)
		}
		return unit, machd.StateReady, "it is running already", nil
	}
	if _, ok := w.Machine(parsed.Image); ok {
		return "", "", "", Error("org.freedesktop.machine1.MachineExists",
			"'/var/lib/machines/%s' is in use by machine '%s'; options 'from', 'ephemeral' and 'overlay' leave it to that one", parsed.Image, parsed.Image)
	}
	if _, ok := w.image(name); !ok {
		return "", "", "", Error("org.freedesktop.machine1.NoSuchImage", "There is no image '%s'", name)
	}
	unit = machine1.ServiceUnit(name)
	u, failed := w.unit(unit)
	if failed != nil {
		unit = "machine-" + machine1.EscapeUnit(name) + ".service"
	}
	if u.JobResult != "" {
		log, _ := u.Properties["Log"].(string)
		result, _ := u.Properties["Result"].(string)
		kind := "org.freedesktop.systemd1.JobFailed"
		if result == "timeout" {
			kind = "org.freedesktop.DBus.Error.Timeout"
		}
		return "", "", "", Error(kind, "%s failed with result %q%s", unit, result, strings.ReplaceAll(log, "|", "\n"))
	}
	w.startedAs(name, unit)
	note, _ = u.Properties["Note"].(string)
	return unit, stateOf(parsed.Wait, note), note, nil
}

// stateOf is what a start that waits so comes to.
func stateOf(wait machd.Wait, note string) string {
	switch {
	case wait == machd.WaitNo:
		return machd.StateQueued
	case wait == machd.WaitRegistered:
		return machd.StateRegistered
	case note != "":
		return machd.StateDegraded
	}
	return machd.StateReady
}
