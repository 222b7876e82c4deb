package busapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// networkWorld has one network, and remembers what it was asked.
type networkWorld struct {
	mu    sync.Mutex
	calls []string
	full  bool // no port is free
}

func (w *networkWorld) note(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
	if w.full {
		return machine1.Errorf(machine1.ErrLimitsExceeded, "the port is taken")
	}
	return nil
}

func (w *networkWorld) fill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = true
}

// take returns the calls since the last take.
func (w *networkWorld) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *networkWorld) AddPorts(_ context.Context, name string, ports []machd.Port, inward bool) error {
	return w.note("add %s %v %v", name, ports, inward)
}

// RemovePorts takes ports for leading to themselves whose other end was not given.
func (w *networkWorld) RemovePorts(_ context.Context, name string, ports []machd.Port, inward bool) (removed []machd.Port, err error) {
	for _, p := range ports {
		p.Host, p.Guest = max(p.Host, p.Guest), max(p.Host, p.Guest)
		removed = append(removed, p)
	}
	return removed, w.note("remove %s %v %v", name, ports, inward)
}

var somePorts = []machd.PortStatus{{
	Machine: aContainer, Protocol: "tcp", Address: "10.0.0.1", Host: 8080, Guest: 80, Packets: 7, Bytes: 700, Answers: true,
}}

func (w *networkWorld) Ports(_ context.Context, name string) ([]machd.PortStatus, error) {
	return somePorts, w.note("list %q", name)
}

var aNetwork = machd.NetworkStatus{Link: "ve-m", Kind: machd.LinkVeth, Addresses: []string{"10.0.0.2/30"}, Managed: true, By: machd.NetworkByMachd}

func (w *networkWorld) Describe(name string) (machd.NetworkStatus, error) {
	return aNetwork, w.note("describe %s", name)
}

var aFinding = machd.Finding{Check: "port", Subject: aContainer, Level: machd.LevelError, What: "it is closed", Why: "x", Command: "open it", Safe: true, Fixed: true}

func (w *networkWorld) Diagnose(_ context.Context, name string, o machd.DiagnoseOptions) ([]machd.Finding, error) {
	return []machd.Finding{aFinding}, w.note("diagnose %q %v", name, o.Fix)
}

func (w *launchWorld) SavePorts(name string, ports []machd.Port, inward bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf("save %s %v %v", name, ports, inward))
	return nil
}

func (w *launchWorld) ForgetPorts(name string, ports []machd.Port, inward bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf("forget %s %v %v", name, ports, inward))
	return nil
}

func TestPortsOverTheBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	none, save := map[string]dbus.Variant{}, machd.PortOptions{Save: true}.Variants()
	inward := machd.PortOptions{Inward: true, Save: true}.Variants()
	for _, c := range []struct {
		method  string
		machine string
		ports   []string
		options map[string]dbus.Variant
		asked   []string
		saved   []string
		err     error
	}{
		{"AddPorts", aContainer, []string{"8080:80", "53/udp"}, none, []string{"add MACHINE [8080:80/tcp 53/udp] false"}, nil, nil},
		{"AddPorts", aContainer, []string{"80"}, save, []string{"add MACHINE [80/tcp] false"}, []string{"save MACHINE [80/tcp] false"}, nil},
		{"AddPorts", aContainer, []string{"80:8080"}, inward, []string{"add MACHINE [8080:80/tcp] true"}, []string{"save MACHINE [8080:80/tcp] true"}, nil},
		{"RemovePorts", aContainer, []string{"80:80"}, save, []string{"remove MACHINE [80/tcp] false"}, []string{"forget MACHINE [80/tcp] false"}, nil},
		{"RemovePorts", aContainer, []string{"80"}, save, []string{"remove MACHINE [80:0/tcp] false"}, []string{"forget MACHINE [80/tcp] false"}, nil},
		{"RemovePorts", aContainer, []string{"80"}, inward, []string{"remove MACHINE [0:80/tcp] true"}, []string{"forget MACHINE [80/tcp] true"}, nil},
		{"AddPorts", aContainer, []string{"0"}, none, nil, nil, machine1.ErrInvalidArgs},
		{"AddPorts", aContainer, nil, none, nil, nil, machine1.ErrInvalidArgs},
		{"AddPorts", "nobody", []string{"80"}, none, nil, nil, machine1.ErrNoSuchMachine},
		{"AddPorts", aContainer, []string{"80"}, map[string]dbus.Variant{"keep": dbus.MakeVariant(true)}, nil, nil, machine1.ErrInvalidArgs},
	} {
		err := w.call(t, machine1.ObjectPath, machd.ManagerInterface+"."+c.method, []any{c.machine, c.ports, c.options})
		asked, saved := w.network.take(), w.launch.take()
		if !errors.Is(err, c.err) || !slices.Equal(asked, c.asked) || !slices.Equal(saved, c.saved) {
			t.Errorf("%s %s %q %v: %v, asked %q, saved %q", c.method, c.machine, c.ports, c.options, err, asked, saved)
		}
	}
	w.network.fill()
	err := w.call(t, machine1.MachinePath(aContainer), machd.MachineInterface+".AddPorts", []any{[]string{"80"}, save})
	if saved := w.launch.take(); !errors.Is(err, machine1.ErrLimitsExceeded) || len(saved) > 0 {
		t.Errorf("what cannot be had is saved: %v, %q", err, saved)
	}
}

// Everybody may see ports and networks; a diagnosis takes a right.
func TestSeeingNetworksOverTheBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.polkit.say(machine1.ErrAccessDenied)
	manager := func(member string, in []any, out ...any) error {
		return w.call(t, machine1.ObjectPath, machd.ManagerInterface+"."+member, in, out...)
	}
	for _, name := range []string{"", aContainer} {
		var ports []machd.PortStatus
		must(t, manager("ListPorts", []any{name}, &ports))
		if diff := cmp.Diff(somePorts, ports); diff != "" {
			t.Errorf("ports (-want +got):\n%s", diff)
		}
	}
	var told map[string]dbus.Variant
	must(t, manager("DescribeNetwork", []any{aContainer}, &told))
	if diff := cmp.Diff(aNetwork, machd.NetworkStatusOf(told)); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
	if err := manager("ListPorts", []any{"nobody"}, new([]machd.PortStatus)); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("ports of nobody: %v", err)
	}
	fix := machd.DiagnoseOptions{Fix: true}.Variants()
	for verb, options := range map[string]map[string]dbus.Variant{"diagnose": {}, "fix": fix} {
		w.network.take()
		err := manager("Diagnose", []any{"", options}, new([]machd.Finding))
		asked := w.polkit.take()
		if !errors.Is(err, machine1.ErrAccessDenied) || len(asked) != 1 || asked[0].Details["verb"] != verb || len(w.network.take()) > 0 {
			t.Errorf("%s: %v, polkit was asked %v", verb, err, asked)
		}
	}
	w.polkit.say(nil)
	var findings []machd.Finding
	must(t, manager("Diagnose", []any{aContainer, fix}, &findings))
	if diff := cmp.Diff([]machd.Finding{aFinding}, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if asked := w.network.take(); !slices.Equal(asked, []string{`diagnose "MACHINE" true`}) {
		t.Errorf("asked %q", asked)
	}
}
