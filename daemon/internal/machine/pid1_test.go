package machine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

// fakePID1 stands for PID 1, where jobs end when and how a test wants.
type fakePID1 struct {
	mu     sync.Mutex
	calls  []string
	change chan struct{} // closed at the next call
	props  [][]machine1.Property
	jobs   map[dbus.ObjectPath]*fakeJob
	states map[string]string // by unit

	deserted  map[string]bool // units without a process
	protected map[string]bool // units that refuse to be stopped
	startErrs []error         // of the next StartTransient calls
	trouble   error           // of every question
	silent    chan struct{}
}

type fakeJob struct {
	done   chan struct{}
	result string
}

func newFakePID1() *fakePID1 {
	return &fakePID1{change: make(chan struct{}), jobs: map[dbus.ObjectPath]*fakeJob{}, states: map[string]string{}}
}

func (f *fakePID1) record(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	close(f.change)
	f.change = make(chan struct{})
}

// wantCall waits for a call that begins with prefix.
func (f *fakePID1) wantCall(t *testing.T, prefix string) {
	t.Helper()
	timeout := time.After(patience)
	for len(f.called(prefix)) == 0 {
		f.mu.Lock()
		change := f.change
		f.mu.Unlock()
		if len(f.called(prefix)) > 0 {
			return
		}
		select {
		case <-change:
		case <-timeout:
			t.Fatalf("PID 1 was not asked %q", prefix)
		}
	}
}

func (f *fakePID1) newJob() dbus.ObjectPath {
	path := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", len(f.jobs)+1))
	f.jobs[path] = &fakeJob{done: make(chan struct{})}
	return path
}

func (f *fakePID1) finish(job dbus.ObjectPath, result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs[job].result = result
	close(f.jobs[job].done)
}

func (f *fakePID1) setState(unit, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states[unit] = state
}

func (f *fakePID1) setTrouble(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = err
}

// called returns the calls so far that begin with prefix.
func (f *fakePID1) called(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var calls []string
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			calls = append(calls, c)
		}
	}
	return calls
}

func (f *fakePID1) StartTransient(_ context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("start %s %s", name, mode)
	f.props = append(f.props, props)
	if len(f.startErrs) > 0 {
		err := f.startErrs[0]
		f.startErrs = f.startErrs[1:]
		if err != nil {
			return "", err
		}
	}
	f.states[name] = "active"
	return f.newJob(), nil
}

func (f *fakePID1) WaitJob(ctx context.Context, job dbus.ObjectPath) (string, error) {
	f.mu.Lock()
	j, ok := f.jobs[job]
	f.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return "", ctx.Err()
	}
	select {
	case <-j.done:
		return j.result, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (f *fakePID1) JobExists(_ context.Context, job dbus.ObjectPath) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[job]
	if !ok || f.trouble != nil {
		return false, f.trouble
	}
	select {
	case <-j.done:
		return false, nil
	default:
		return true, nil
	}
}

func (f *fakePID1) Stop(_ context.Context, name, mode string) (dbus.ObjectPath, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("stop %s %s", name, mode)
	if f.states[name] == "" {
		return "", noSuchUnit(name)
	}
	return f.newJob(), nil
}

func (f *fakePID1) Kill(_ context.Context, name, whom string, signal int32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("kill %s %s %d", name, whom, signal)
	return nil
}

func (f *fakePID1) KillSubgroup(_ context.Context, name, whom, subgroup string, signal int32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("kill %s %s %s %d", name, whom, subgroup, signal)
	return nil
}

func (f *fakePID1) Unref(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record("unref %s", name)
	return nil
}

func (f *fakePID1) ActiveState(ctx context.Context, name string) (string, error) {
	f.mu.Lock()
	state, trouble, silent := f.states[name], f.trouble, f.silent
	f.record("state %s", name)
	f.mu.Unlock()
	if silent != nil && strings.Contains(name, "stuck") {
		select {
		case <-silent:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	switch {
	case trouble != nil:
		return "", trouble
	case state == "":
		return "", noSuchUnit(name)
	}
	return state, nil
}

func (f *fakePID1) desert(unit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deserted = map[string]bool{unit: true}
}

// HasProcesses says no for the units in deserted.
func (f *fakePID1) HasProcesses(_ context.Context, name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.deserted[name], nil
}

// RefusesStop says yes for the units in protected.
func (f *fakePID1) RefusesStop(_ context.Context, name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.protected[name], f.trouble
}

func noSuchUnit(name string) error {
	return &machine1.RemoteError{
		Name: "org.freedesktop.systemd1.NoSuchUnit",
		Text: "Unit " + name + " not loaded.",
	}
}

func removed(name string) unit.Event { return unit.Event{Kind: unit.UnitRemoved, Unit: name} }
