package machine1test

import (
	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// SetUsage says what a machine takes, as it is told by one answer after the
// other; the last is told from then on.
func (w *World) SetUsage(name string, answers ...machd.Usage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usage[name] = answers
}

func (w *World) listUsage(msg dbus.Message) (map[string]map[string]dbus.Variant, *dbus.Error) {
	if err := w.enter(msg); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	machines := map[string]map[string]dbus.Variant{}
	for name := range w.machines {
		if numbers := w.nextUsage(name); numbers != nil {
			machines[name] = numbers
		}
	}
	return machines, nil
}

func (w *World) getUsage(msg dbus.Message, name string) (map[string]dbus.Variant, *dbus.Error) {
	if err := w.onMachine(msg, name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nextUsage(name), nil
}

// nextUsage is the next answer about a machine, nil if there is none.
func (w *World) nextUsage(name string) map[string]dbus.Variant {
	answers := w.usage[name]
	if len(answers) == 0 {
		return nil
	}
	if len(answers) > 1 {
		w.usage[name] = answers[1:]
	}
	return answers[0].Variants()
}

// TellReady announces that a machine can be used.
func (w *World) TellReady(name string) {
	w.tell("MachineReady", name, machine1.MachinePath(name))
}

// TellChanged announces that a machine has other ports than before.
func (w *World) TellChanged(name string) {
	w.tell("MachineChanged", name, machine1.MachinePath(name))
}

// TellFailed announces that a machine could not be started.
func (w *World) TellFailed(name, unit, reason string) { w.tell("MachineFailed", name, unit, reason) }

func (w *World) tell(member string, args ...any) {
	w.mu.Lock()
	conn := w.machined
	w.mu.Unlock()
	if conn != nil {
		conn.Emit(machine1.ObjectPath, machd.ManagerInterface+"."+member, args...)
	}
}
