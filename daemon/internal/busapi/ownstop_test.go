package busapi

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// launchWorld ends no machine, but remembers which it was to end.
type launchWorld struct {
	mu    sync.Mutex
	calls []string // method, machine, whether it is listed
	stops []machd.StopOptions
}

func (w *launchWorld) note(method string, m machine.Machine, o machd.StopOptions) {
	w.mu.Lock()
	defer w.mu.Unlock()
	call := method + " " + m.Name
	if m.Leader != nil {
		call += " listed"
	}
	w.calls, w.stops = append(w.calls, call), append(w.stops, o)
}

// take returns the calls since the last take.
func (w *launchWorld) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *launchWorld) Wait(_ context.Context, m machine.Machine, _ machd.WaitOptions) (state, note string, err error) {
	w.note("wait", m, machd.StopOptions{})
	return machd.StateDegraded, "half of it", nil
}

func (w *launchWorld) Stop(_ context.Context, m machine.Machine, o machd.StopOptions) (string, error) {
	w.note("stop", m, o)
	return machd.StopPowerOff, nil
}

func (w *launchWorld) StopUnregistered(_ context.Context, name string, o machd.StopOptions) (string, error) {
	w.note("stop", machine.Machine{Name: name}, o)
	return machd.StopUnit, nil
}

func (w *launchWorld) Restart(_ context.Context, m machine.Machine, o machd.StopOptions) (launch.Result, error) {
	w.note("restart", m, o)
	return launch.Result{Unit: "u.service", State: machd.StateReady}, nil
}

func (w *launchWorld) RestartUnregistered(_ context.Context, name string, o machd.StopOptions) (launch.Result, error) {
	w.note("restart", machine.Machine{Name: name}, o)
	return launch.Result{Unit: "u.service", State: machd.StateReady}, nil
}

// Who names a machine that is not listed may mean one that is just starting; who
// has its object cannot.
func TestEnding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	opts := machd.StopOptions{Timeout: time.Second, Force: true}
	none := map[string]dbus.Variant{}
	for _, c := range []struct {
		path dbus.ObjectPath
		call string
		in   []any
		want string // "" for none
		out  []any
	}{
		{machine1.ObjectPath, machd.ManagerInterface + ".StopMachine", []any{aContainer, opts.Variants()}, "stop MACHINE listed", []any{machd.StopPowerOff}},
		{machine1.ObjectPath, machd.ManagerInterface + ".StopMachine", []any{"coming", opts.Variants()}, "stop coming", []any{machd.StopUnit}},
		{machine1.MachinePath(aVM), machd.MachineInterface + ".Stop", []any{none}, "stop VM listed", []any{machd.StopPowerOff}},
		{machine1.ObjectPath, machd.ManagerInterface + ".RestartMachine", []any{aContainer, none}, "restart MACHINE listed", []any{"u.service", machd.StateReady, ""}},
		{machine1.ObjectPath, machd.ManagerInterface + ".RestartMachine", []any{"coming", none}, "restart coming", []any{"u.service", machd.StateReady, ""}},
		{machine1.MachinePath(aContainer), machd.MachineInterface + ".Wait", []any{none}, "wait MACHINE listed", []any{machd.StateDegraded, "half of it"}},
		{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{aContainer, machd.WaitOptions{Timeout: time.Minute}.Variants()}, "wait MACHINE listed", []any{machd.StateDegraded, "half of it"}},
		{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{"coming", none}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".StopMachine", []any{"no/name", none}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".StopMachine", []any{machine1.Host, none}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".StopMachine", []any{aContainer, map[string]dbus.Variant{"quickly": dbus.MakeVariant(true)}}, "", nil},
	} {
		call := w.client.Object(w.server, c.path).Call(c.call, 0, c.in...)
		want := []string{c.want}
		if c.want == "" {
			want = nil
		}
		if got := w.launch.take(); !slices.Equal(got, want) || (call.Err != nil) != (c.want == "") || !slices.Equal(call.Body, c.out) {
			t.Errorf("%s %v: got %v, %v, %v, want %v, %v", c.call, c.in[0], got, call.Body, call.Err, want, c.out)
		}
	}
	if got := w.launch.stops[0]; got != opts {
		t.Errorf("the options came as %+v, want %+v", got, opts)
	}
}
