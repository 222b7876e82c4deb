package machine1test

import (
	"cmp"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// SetNetwork says what there is to tell about a machine's network.
func (w *World) SetNetwork(name string, s machd.NetworkStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.networks[name] = s
}

// AddPort adds a published port.
func (w *World) AddPort(p machd.PortStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports = append(w.ports, p)
}

// AddFinding adds what a diagnosis finds.
func (w *World) AddFinding(f machd.Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.findings = append(w.findings, f)
}

func (w *World) describeNetwork(msg dbus.Message, name string) (map[string]dbus.Variant, *dbus.Error) {
	if err := w.onMachine(msg, name); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.networks[name].Variants(), nil
}

func (w *World) listPorts(msg dbus.Message, name string) ([]machd.PortStatus, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return nil, err
	}
	if name != "" {
		if _, err := w.find(name); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []machd.PortStatus{}
	for _, p := range w.ports {
		if name == "" || p.Machine == name {
			list = append(list, p)
		}
	}
	return list, nil
}

func (w *World) addPorts(msg dbus.Message, name string, texts []string, o map[string]dbus.Variant) *dbus.Error {
	ports, err := w.portsOf(msg, name, texts, o, machd.ParsePortList)
	if err != nil {
		return err
	}
	for _, p := range ports {
		w.AddPort(p)
	}
	return nil
}

func (w *World) removePorts(msg dbus.Message, name string, texts []string, o map[string]dbus.Variant) *dbus.Error {
	ports, err := w.portsOf(msg, name, texts, o, machd.ParseRemovedPorts)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range ports {
		i := slices.IndexFunc(w.ports, func(q machd.PortStatus) bool {
			meant := p
			meant.Host, meant.Guest = cmp.Or(p.Host, q.Host), cmp.Or(p.Guest, q.Guest)
			return meant == bare(q)
		})
		if i < 0 {
			return Error("org.freedesktop.DBus.Error.InvalidArgs", "Machine '%s' has no port %d/%s", name, p.Host, p.Protocol)
		}
		w.ports = slices.Delete(w.ports, i, i+1)
	}
	return nil
}

// bare returns which port it is.
func bare(p machd.PortStatus) machd.PortStatus {
	p.Packets, p.Bytes, p.Answers = 0, 0, false
	return p
}

// portsOf reads the arguments of a call about ports.
func (w *World) portsOf(msg dbus.Message, name string, texts []string, o map[string]dbus.Variant,
	parse func([]string, bool) ([]machd.Port, error)) ([]machd.PortStatus, *dbus.Error) {
	if err := w.onMachine(msg, name, texts, o); err != nil {
		return nil, err
	}
	options, err := machd.ParsePortOptions(o)
	var ports []machd.Port
	if err == nil {
		ports, err = parse(texts, options.Inward)
	}
	if err != nil {
		return nil, dbus.NewError(machine1.ErrorName(err), []any{err.Error()})
	}
	var list []machd.PortStatus
	for _, p := range ports {
		s := machd.PortStatus{Machine: name, Protocol: string(p.Protocol), Host: p.Host, Guest: p.Guest, Inward: options.Inward}
		if p.Address.IsValid() {
			s.Address = p.Address.String()
		}
		list = append(list, s)
	}
	return list, nil
}

// diagnose finds all there is about a machine, and with "fix" mends what is safe.
func (w *World) diagnose(msg dbus.Message, name string, o map[string]dbus.Variant) ([]machd.Finding, *dbus.Error) {
	if err := w.enter(msg, name, o); err != nil {
		return nil, err
	}
	if name != "" {
		if _, err := w.find(name); err != nil {
			return nil, err
		}
	}
	options, err := machd.ParseDiagnoseOptions(o)
	if err != nil {
		return nil, dbus.NewError(machine1.ErrorName(err), []any{err.Error()})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	found := []machd.Finding{}
	for _, f := range w.findings {
		if name == "" || f.Subject == name {
			f.Fixed = options.Fix && f.Safe
			found = append(found, f)
		}
	}
	return found, nil
}
