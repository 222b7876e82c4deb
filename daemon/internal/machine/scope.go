package machine

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

const (
	machineSlice = "machine.slice"
	// scopeTasksMax is what systemd-machined sets. libvirt raises it where it
	// knows better.
	scopeTasksMax = uint64(16384)

	// scopeGoneTimeout is how long a scope of an earlier machine may take to
	// go. PID 1 needs milliseconds; a scope that is there to stay, somebody
	// else's, delays the refusal by it.
	scopeGoneTimeout = 2 * time.Second
)

// scopeProperties returns what PID 1 is told about the scope of m, whose leader
// is given by processes. What the registrant wants comes last, as it gave it,
// for PID 1 takes the last one of several; nothing in it is looked at.
//
// Reference: machined-core.c, machine_start_scope.
func scopeProperties(m Machine, processes machine1.Property, wanted []machine1.Property) []machine1.Property {
	description := "Container " + m.Name
	if m.Class == machine1.ClassVM {
		description = "Virtual Machine " + m.Name
	}
	props := []machine1.Property{
		property("Slice", machineSlice),
		property("Description", description),
		processes,
		property("Delegate", true),
		property("CollectMode", "inactive-or-failed"),
		property("AddRef", true),
		property("TasksMax", scopeTasksMax),
	}
	if m.UID != 0 {
		props = append(props, property("User", strconv.FormatUint(uint64(m.UID), 10)))
	}
	return append(props, wanted...)
}

func property(name string, value any) machine1.Property {
	return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// startScope has PID 1 start the scope of m with its leader in it, and returns
// the job.
//
// The scope of an earlier machine of this name may still be there. A container
// that reboots is the usual case: nspawn unregisters the old one and creates
// the new one at once, while PID 1 has yet to notice that the scope is empty.
// systemd-machined then refuses the reboot; we wait for the scope to go, and
// try once more.
func (m *Manager) startScope(ctx context.Context, newcomer Machine, wanted []machine1.Property) (dbus.ObjectPath, error) {
	removed, forget := m.awaited.add(newcomer.Unit)
	defer forget()

	job, err := m.startScopeOnce(ctx, newcomer, wanted)
	if !errors.Is(err, machine1.ErrUnitExists) {
		return job, err
	}
	if !m.scopeWent(ctx, newcomer.Unit, removed) {
		return "", err
	}
	return m.startScopeOnce(ctx, newcomer, wanted)
}

// scopeWent waits for a unit that was there a moment ago.
func (m *Manager) scopeWent(ctx context.Context, name string, removed <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, scopeGoneTimeout)
	defer cancel()
	if _, err := m.units.ActiveState(ctx, name); errors.Is(err, machine1.ErrNoSuchUnit) {
		return true
	}
	select {
	case <-removed:
		return true
	case <-ctx.Done():
		return false
	}
}

// startScopeOnce names the leader by pidfd, and by PID where PID 1 is too old
// to know the property. The mode is "fail": nothing else may be cancelled.
func (m *Manager) startScopeOnce(ctx context.Context, newcomer Machine, wanted []machine1.Property) (job dbus.ObjectPath, err error) {
	err = newcomer.Leader.WithFD(func(fd int) error {
		props := scopeProperties(newcomer, property("PIDFDs", []dbus.UnixFD{dbus.UnixFD(fd)}), wanted)
		job, err = m.units.StartTransient(ctx, newcomer.Unit, "fail", props)
		return err
	})
	if errors.Is(err, machine1.ErrUnknownProperty) || errors.Is(err, machine1.ErrPropertyReadOnly) {
		props := scopeProperties(newcomer, property("PIDs", []uint32{uint32(newcomer.leader.pid)}), wanted)
		job, err = m.units.StartTransient(ctx, newcomer.Unit, "fail", props)
	}
	return job, err
}

// unitWaiters are those who wait for PID 1 to forget a unit. A unit has one at
// most: who waits has its machine's name reserved.
type unitWaiters struct {
	mu     sync.Mutex
	byUnit map[string]chan struct{}
}

// add returns a channel that is closed when PID 1 says that name is removed,
// or may have missed to say so.
func (w *unitWaiters) add(name string) (removed <-chan struct{}, forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byUnit == nil {
		w.byUnit = map[string]chan struct{}{}
	}
	ch := make(chan struct{})
	w.byUnit[name] = ch
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byUnit, name)
	}
}

func (w *unitWaiters) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ch, ok := w.byUnit[name]; ok {
		close(ch)
		delete(w.byUnit, name)
	}
}

func (w *unitWaiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.byUnit {
		close(ch)
	}
	clear(w.byUnit)
}
