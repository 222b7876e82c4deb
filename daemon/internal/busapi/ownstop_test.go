package busapi

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// launchWorld ends no machine, but remembers which it was to end.
type launchWorld struct {
	mu    sync.Mutex
	calls []string // method, machine, whether it is listed
	stops []machd.StopOptions

	hang  atomic.Bool  // waits go on until they are ended
	waits atomic.Int32 // those that hang
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

func (w *launchWorld) Wait(ctx context.Context, m machine.Machine, _ machd.WaitOptions) (state, note string, err error) {
	if w.hang.Load() {
		w.waits.Add(1)
		defer w.waits.Add(-1)
		<-ctx.Done()
		return "", "", ctx.Err()
	}
	w.note("wait", m, machd.StopOptions{})
	return machd.StateDegraded, "half of it", nil
}

func (w *launchWorld) WaitUnregistered(_ context.Context, name string, _ machd.WaitOptions) (state, note string, err error) {
	w.note("wait", machine.Machine{Name: name}, machd.StopOptions{})
	return machd.StateReady, "", nil
}

func (w *launchWorld) Stop(_ context.Context, m machine.Machine, o machd.StopOptions) (string, error) {
	w.note("stop", m, o)
	return machd.StopPowerOff, nil
}

func (w *launchWorld) StopUnregistered(_ context.Context, name string, o machd.StopOptions) (string, error) {
	w.note("stop", machine.Machine{Name: name}, o)
	return machd.StopUnit, nil
}

func (w *launchWorld) Terminate(_ context.Context, m machine.Machine, o machd.TerminateOptions) (string, error) {
	w.note("terminate", m, machd.StopOptions{Timeout: o.Timeout})
	return machd.StopUnit, nil
}

func (w *launchWorld) TerminateUnregistered(_ context.Context, name string, o machd.TerminateOptions) (string, error) {
	w.note("terminate", machine.Machine{Name: name}, machd.StopOptions{Timeout: o.Timeout})
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
		{machine1.ObjectPath, machd.ManagerInterface + ".TerminateMachine", []any{aContainer, none}, "terminate MACHINE listed", []any{machd.StopUnit}},
		{machine1.ObjectPath, machd.ManagerInterface + ".TerminateMachine", []any{"coming", machd.TerminateOptions{Timeout: time.Second}.Variants()}, "terminate coming", []any{machd.StopUnit}},
		{machine1.MachinePath(aVM), machd.MachineInterface + ".Terminate", []any{none}, "terminate VM listed", []any{machd.StopUnit}},
		{machine1.ObjectPath, machd.ManagerInterface + ".TerminateMachine", []any{"no/name", none}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".TerminateMachine", []any{machine1.Host, none}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".TerminateMachine", []any{aContainer, machd.StopOptions{Force: true}.Variants()}, "", nil},
		{machine1.ObjectPath, machd.ManagerInterface + ".RestartMachine", []any{aContainer, none}, "restart MACHINE listed", []any{"u.service", machd.StateReady, ""}},
		{machine1.ObjectPath, machd.ManagerInterface + ".RestartMachine", []any{"coming", none}, "restart coming", []any{"u.service", machd.StateReady, ""}},
		{machine1.MachinePath(aContainer), machd.MachineInterface + ".Wait", []any{none}, "wait MACHINE listed", []any{machd.StateDegraded, "half of it"}},
		{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{aContainer, machd.WaitOptions{Timeout: time.Minute}.Variants()}, "wait MACHINE listed", []any{machd.StateDegraded, "half of it"}},
		{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{"coming", none}, "wait coming", []any{machd.StateReady, ""}},
		{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{"no/name", none}, "", nil},
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

// await waits until n waits hang.
func (w *launchWorld) await(t *testing.T, n int32) {
	t.Helper()
	for deadline := time.Now().Add(patience); w.waits.Load() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls wait, not %d", w.waits.Load(), n)
		}
	}
}

// Nobody is asked whether he may wait, so nothing of it is left when he has gone.
func TestWaitingEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.launch.hang.Store(true)
	leaver, stayer := w.bus.Dial(), w.bus.Dial()
	for _, c := range []*dbus.Conn{leaver, stayer} {
		for _, to := range []struct {
			path   dbus.ObjectPath
			member string
			in     []any
		}{
			{machine1.ObjectPath, machd.ManagerInterface + ".WaitMachine", []any{aContainer}},
			{machine1.MachinePath(aContainer), machd.MachineInterface + ".Wait", nil},
		} {
			in := append(to.in, machd.WaitOptions{Timeout: time.Hour}.Variants())
			must(t, c.Object(w.server, to.path).Call(to.member, dbus.FlagNoReplyExpected, in...).Err)
		}
	}
	w.launch.await(t, 4)
	leaver.Close()
	w.launch.await(t, 2)
	stayer.Close()
	w.launch.await(t, 0)
}

func TestOneUserDoesNotWaitTooOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.launch.hang.Store(true)
	wait := func(flags dbus.Flags) error {
		return w.bus.Dial().Object(w.server, machine1.ObjectPath).Call(machd.ManagerInterface+".WaitMachine", flags,
			aContainer, machd.WaitOptions{}.Variants()).Err
	}
	w.polkit.user.Store(4242)
	for range operation.MaxWaits {
		must(t, wait(dbus.FlagNoReplyExpected))
	}
	w.launch.await(t, operation.MaxWaits)
	var refusal dbus.Error
	if err := wait(0); !errors.As(err, &refusal) || refusal.Name != machine1.ErrorName(machine1.ErrLimitsExceeded) {
		t.Errorf("one more: %v", err)
	}
	for _, other := range []uint32{4243, uint32(os.Geteuid())} {
		before := w.launch.waits.Load()
		w.polkit.user.Store(other)
		must(t, wait(dbus.FlagNoReplyExpected))
		w.launch.await(t, before+1)
	}
	for range operation.MaxWaits {
		must(t, wait(dbus.FlagNoReplyExpected)) // whom the daemon is for
	}
	w.launch.await(t, 2*operation.MaxWaits+2)
}
