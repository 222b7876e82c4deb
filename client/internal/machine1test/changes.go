package machine1test

import (
	"maps"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const introspectable = "org.freedesktop.DBus.Introspectable"

// stockChanges are methods that change images or reach into machines.
func (w *World) stockChanges() map[string]any {
	return map[string]any{
		"BindMountMachine": func(msg dbus.Message, name, source, destination string, readOnly, mkdir bool) *dbus.Error {
			return w.onMachine(msg, name, source, destination, readOnly, mkdir)
		},
		"CopyToMachine":            w.copyMachine,
		"CopyFromMachine":          w.copyMachine,
		"CopyToMachineWithFlags":   w.copyMachineWithFlags,
		"CopyFromMachineWithFlags": w.copyMachineWithFlags,
		"CloneImage":               w.cloneImage,
		"RenameImage": func(msg dbus.Message, name, newName string) *dbus.Error {
			return w.onImage(msg, name, newName)
		},
		"RemoveImage": func(msg dbus.Message, name string) *dbus.Error { return w.onImage(msg, name) },
		"MarkImageReadOnly": func(msg dbus.Message, name string, readOnly bool) *dbus.Error {
			return w.onImage(msg, name, readOnly)
		},
		"SetImageLimit": func(msg dbus.Message, name string, limit uint64) *dbus.Error { return w.onImage(msg, name, limit) },
		"SetPoolLimit":  func(msg dbus.Message, limit uint64) *dbus.Error { return w.enter(msg, limit) },
		"CleanPool":     w.cleanPool,
	}
}

// exportMachd serves what only machd has.
func (w *World) exportMachd(conn *dbus.Conn) error {
	type options = map[string]dbus.Variant
	paths := func(msg dbus.Message, name, source, destination string, o options) *dbus.Error {
		return w.onMachine(msg, name, source, destination, o)
	}
	table := map[string]any{
		"BindMount":        paths,
		"AddPorts":         w.addPorts,
		"RemovePorts":      w.removePorts,
		"ListPorts":        w.listPorts,
		"Diagnose":         w.diagnose,
		"CopyTo":           paths,
		"CopyFrom":         paths,
		"Exec":             w.exec,
		"PlanStart":        w.planStart,
		"StartMachine":     w.startMachine,
		"RunMachine":       w.run,
		"SetLimits":        func(msg dbus.Message, name string, o options) *dbus.Error { return w.onMachine(msg, name, o) },
		"StopMachine":      w.stopMachine,
		"TerminateMachine": w.terminateAndWait,
		"RestartMachine":   w.restartMachine,
		"WaitMachine":      w.waitMachine,
		"ListUsage":        w.listUsage,
		"GetUsage":         w.getUsage,
		"ListOverview":     w.listOverview,
		"DescribeNetwork":  w.describeNetwork,
		"Unbind": func(msg dbus.Message, name, destination string, o options) *dbus.Error {
			return w.onMachine(msg, name, destination, o)
		},
		"RemoveImage": func(msg dbus.Message, name string, o options) *dbus.Error { return w.onImage(msg, name, o) },
	}
	maps.Copy(table, w.makeImages())
	return conn.ExportMethodTable(table, machine1.ObjectPath, machd.ManagerInterface)
}

// introspect tells machd from systemd-machined, and no more.
func (w *World) introspect(msg dbus.Message) (string, *dbus.Error) {
	if err := w.enter(msg); err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stock {
		return `<node/>`, nil
	}
	return `<node><interface name="` + machd.ManagerInterface + `"/></node>`, nil
}

func (w *World) onMachine(msg dbus.Message, name string, more ...any) *dbus.Error {
	if err := w.enter(msg, append([]any{name}, more...)...); err != nil {
		return err
	}
	_, err := w.find(name)
	return err
}

func (w *World) onImage(msg dbus.Message, name string, more ...any) *dbus.Error {
	if err := w.enter(msg, append([]any{name}, more...)...); err != nil {
		return err
	}
	if _, ok := w.image(name); !ok {
		return Error("org.freedesktop.machine1.NoSuchImage", "No image '%s' known", name)
	}
	return nil
}

func (w *World) copyMachine(msg dbus.Message, name, source, destination string) *dbus.Error {
	return w.onMachine(msg, name, source, destination)
}

func (w *World) copyMachineWithFlags(msg dbus.Message, name, source, destination string, flags uint64) *dbus.Error {
	return w.onMachine(msg, name, source, destination, flags)
}

func (w *World) cloneImage(msg dbus.Message, name, newName string, readOnly bool) *dbus.Error {
	if err := w.onImage(msg, name, newName, readOnly); err != nil {
		return err
	}
	if _, taken := w.image(newName); taken {
		return Error("org.freedesktop.DBus.Error.FileExists", "Failed to clone image: File exists")
	}
	return nil
}

// cleanPool finds one hidden image, and all with "all".
func (w *World) cleanPool(msg dbus.Message, mode string) ([]struct {
	Name  string
	Usage uint64
}, *dbus.Error) {
	var removed []struct {
		Name  string
		Usage uint64
	}
	if err := w.enter(msg, mode); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, image := range w.images {
		if mode == "all" || image.Name[0] == '.' {
			removed = append(removed, struct {
				Name  string
				Usage uint64
			}{image.Name, image.Usage})
		}
	}
	return removed, nil
}
