package machine1test

import (
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

type unitFileChange struct{ Kind, Path, Source string }

const wants = "/etc/systemd/system/machines.target.wants/"

// enableUnitFiles knows instances of the units that stand for machines, and
// machines.target, which is enabled.
func (w *World) enableUnitFiles(msg dbus.Message, units []string, runtime, force bool) (bool, []unitFileChange, *dbus.Error) {
	if err := w.enter(msg, units, runtime, force); err != nil {
		return false, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := []unitFileChange{}
	for _, unit := range units {
		if prefix, _, instance := strings.Cut(unit, "@"); instance && !slices.Contains(w.enabled, unit) {
			w.enabled = append(w.enabled, unit)
			changes = append(changes, unitFileChange{"symlink", wants + unit, "/usr/lib/systemd/system/" + prefix + "@.service"})
		}
	}
	return true, changes, nil
}

func (w *World) disableUnitFiles(msg dbus.Message, units []string, runtime bool) ([]unitFileChange, *dbus.Error) {
	if err := w.enter(msg, units, runtime); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := []unitFileChange{}
	w.enabled = slices.DeleteFunc(w.enabled, func(unit string) bool {
		if slices.Contains(units, unit) {
			changes = append(changes, unitFileChange{"unlink", wants + unit, ""})
			return true
		}
		return false
	})
	return changes, nil
}

func (w *World) reload(msg dbus.Message) *dbus.Error { return w.enter(msg) }
