package machine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

func remote(name string) error { return &machine1.RemoteError{Name: name, Text: "text of " + name} }

func namesOf(props []machine1.Property) []string {
	var names []string
	for _, p := range props {
		names = append(names, p.Name)
	}
	return names
}

// allow is a property that comes twice and that we know nothing of.
var allow = machine1.Property{Name: "DeviceAllow", Value: dbus.MakeVariant([][]string{{"/dev/fuse", "rwm"}})}

func TestScopeProperties(t *testing.T) {
	t.Parallel()
	wanted := []machine1.Property{property("Slice", "own.slice"), allow, allow}
	m := Machine{Name: "a", Class: machine1.ClassVM, UID: 1000}
	got := scopeProperties(m, property("PIDs", []uint32{42}), wanted)
	want := []machine1.Property{
		property("Slice", "machine.slice"),
		property("Description", "Virtual Machine a"),
		property("PIDs", []uint32{42}),
		property("Delegate", true),
		property("CollectMode", "inactive-or-failed"),
		property("AddRef", true),
		property("TasksMax", uint64(16384)),
		property("User", "1000"),
		property("Slice", "own.slice"),
		allow, allow,
	}
	equal := cmp.Comparer(func(a, b dbus.Variant) bool { return a.String() == b.String() })
	if diff := cmp.Diff(got, want, equal); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	m = Machine{Name: "a", Class: machine1.ClassContainer}
	got = scopeProperties(m, property("PIDs", []uint32{42}), nil)
	if got[1].Value.Value() != "Container a" || len(got) != 7 {
		t.Errorf("for root's container: %v", got)
	}
}

type answer struct {
	m   Machine
	err error
}

// createLater calls Create, which is to wait, and returns where its answer goes.
func (w *world) createLater(ctx context.Context, r Registration) <-chan answer {
	answers := make(chan answer, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m, err := w.Create(ctx, r, []machine1.Property{allow}, true)
		answers <- answer{m, err}
	}()
	w.t.Cleanup(func() { <-done })
	return answers
}

func (w *world) wantAnswer(answers <-chan answer) answer {
	w.t.Helper()
	select {
	case a := <-answers:
		return a
	case <-time.After(patience):
		w.t.Fatal("no answer")
	}
	panic("unreachable")
}

func TestCreateAnswersWhenTheJobIsDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	answers := w.createLater(t.Context(), registrationOf("a-b", leader))

	announced := w.wantEvent("+a-b").Machine
	if announced.State() != machine1.StateOpening || announced.Unit != `machine-a\x2db.scope` {
		t.Errorf("announced %s in %s", announced.State(), announced.Unit)
	}
	select {
	case a := <-answers:
		t.Fatalf("answered %+v before the job was done", a)
	default:
	}
	w.pid1.finish(announced.ScopeJob, "done")
	a := w.wantAnswer(answers)
	if a.err != nil || a.m.State() != machine1.StateRunning {
		t.Errorf("%v, state %s", a.err, a.m.State())
	}
	saved, err := stateDir(w.dir).load("a-b")
	if err != nil || saved.ScopeJob != "" {
		t.Errorf("file has job %q, %v", saved.ScopeJob, err)
	}
	want := []string{"Slice", "Description", "PIDFDs", "Delegate", "CollectMode", "AddRef", "TasksMax", "DeviceAllow"}
	if diff := cmp.Diff(namesOf(w.pid1.props[0]), want); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	if diff := cmp.Diff(w.pid1.called("start"), []string{`start machine-a\x2db.scope fail`}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
}

func TestCreateFallsBackToPIDs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"org.freedesktop.DBus.Error.UnknownProperty", "org.freedesktop.DBus.Error.PropertyReadOnly"} {
		w := newWorld(t)
		w.pid1.startErrs = []error{remote(name)}
		leader := start(t, "")
		w.create("a", leader)
		processes := w.pid1.props[1][2]
		if processes.Name != "PIDs" || !cmp.Equal(processes.Value.Value(), []uint32{uint32(leader.pid())}) {
			t.Errorf("%s: got %v", name, processes)
		}
	}
}

// TestCreateThatFails leaves nothing behind and ends nothing.
func TestCreateThatFails(t *testing.T) {
	t.Parallel()
	refused := "org.freedesktop.DBus.Error.AccessDenied"
	w := newWorld(t)
	leader, supervisor := start(t, ""), start(t, "")
	w.pid1.startErrs = []error{remote(refused)}
	r := registrationOf("a", leader)
	r.Supervisor = supervisor.open()
	if _, err := w.Create(t.Context(), r, nil, true); machine1.ErrorName(err) != refused {
		t.Errorf("got %v", err)
	}
	w.wantNoEvent()
	if got := entriesOf(t, w.dir); got != nil {
		t.Errorf("directory has %q", got)
	}

	answers := w.createLater(t.Context(), registrationOf("a", leader))
	w.pid1.finish(w.wantEvent("+a").Machine.ScopeJob, "timeout")
	a := w.wantAnswer(answers)
	if !errors.Is(a.err, machine1.ErrJobFailed) || a.err.Error() != "Start job for unit machine-a.scope failed with 'timeout'" {
		t.Errorf("got %v", a.err)
	}
	w.wantEvent("-a")
	if got := entriesOf(t, w.dir); got != nil {
		t.Errorf("directory has %q", got)
	}
	if !leader.alive() || !supervisor.alive() || w.pid1.called("stop") != nil {
		t.Error("something was stopped")
	}
	w.create("a", leader)
}

func TestCreateOfAMachineThatVanishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers := w.createLater(t.Context(), registrationOf("a", start(t, "")))
	job := w.wantEvent("+a").Machine.ScopeJob
	if err := w.Unregister(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if a := w.wantAnswer(answers); !errors.Is(a.err, machine1.ErrNoSuchMachine) {
		t.Errorf("got %v", a.err)
	}
	w.pid1.finish(job, "done")
}

// TestCreateOutlivesItsCaller has the client leave the bus while it waits.
func TestCreateOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	answers := w.createLater(ctx, registrationOf("a", start(t, "")))
	added := w.wantEvent("+a").Machine
	cancel()
	if a := w.wantAnswer(answers); !errors.Is(a.err, context.Canceled) {
		t.Errorf("got %v", a.err)
	}
	w.pid1.finish(added.ScopeJob, "done")
	<-added.life.opened
	if m := w.get("a"); m.State() != machine1.StateRunning || !m.Leader.Alive() {
		t.Errorf("state %s", m.State())
	}
}

// TestTerminateWhileCreating must not take the end of the stop job for the
// answer to Create.
func TestTerminateWhileCreating(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers := w.createLater(t.Context(), registrationOf("a", start(t, "")))
	start := w.wantEvent("+a").Machine.ScopeJob
	if err := w.Terminate(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	stop := w.get("a").ScopeJob
	w.pid1.finish(start, "canceled")
	if a := w.wantAnswer(answers); !errors.Is(a.err, machine1.ErrJobFailed) {
		t.Errorf("got %v", a.err)
	}
	w.pid1.finish(stop, "done")
}

// TestNobodyElseMayCreate has the same name and the same leader asked for while
// PID 1 is still thinking.
func TestNobodyElseMayCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	reserved, release, err := w.registry.Reserve(Machine{Name: "a", leader: identityOf(leader.open())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(t.Context(), registrationOf("a", start(t, "")), nil, true); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("same name: %v", err)
	}
	if _, err := w.Create(t.Context(), registrationOf("b", leader), nil, true); machine1.ErrorName(err) != "org.freedesktop.DBus.Error.FileExists" {
		t.Errorf("same leader: %v", err)
	}
	if calls := w.pid1.called(""); calls != nil {
		t.Errorf("PID 1 was told %q", calls)
	}
	_ = reserved
	release()
	w.create("a", leader)
}

// TestRebootOfAContainer creates a machine again while PID 1 still has the
// scope of the first.
func TestRebootOfAContainer(t *testing.T) {
	t.Parallel()
	exists := remote("org.freedesktop.systemd1.UnitExists")
	w := newWorld(t)
	leader := start(t, "")
	w.create("a", leader)
	if err := w.Unregister(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	w.wantEvent("-a")
	if got := w.pid1.called("unref"); len(got) != 1 {
		t.Errorf("references given back: %q", got)
	}

	w.pid1.mu.Lock()
	w.pid1.startErrs = []error{exists}
	w.pid1.mu.Unlock()
	answers := w.createLater(t.Context(), registrationOf("a", start(t, "")))
	w.pid1.wantCall(t, "state")
	w.wantNoEvent()
	w.UnitEvent(removed("machine-a.scope"))
	w.pid1.finish(w.wantEvent("+a").Machine.ScopeJob, "done")
	if a := w.wantAnswer(answers); a.err != nil {
		t.Error(a.err)
	}
}

func TestCreateBesideAScopeThatStays(t *testing.T) {
	t.Parallel()
	exists := remote("org.freedesktop.systemd1.UnitExists")
	w := newWorld(t)
	w.pid1.startErrs = []error{exists, exists}
	if _, err := w.Create(t.Context(), registrationOf("a", start(t, "")), nil, true); !errors.Is(err, machine1.ErrUnitExists) {
		t.Errorf("a scope that has gone and come again: %v", err)
	}

	w.pid1.startErrs = []error{exists}
	w.pid1.setState("machine-b.scope", "active")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Create(ctx, registrationOf("b", start(t, "")), nil, true); !errors.Is(err, machine1.ErrUnitExists) {
		t.Errorf("a scope that stays: %v", err)
	}
	w.wantNoEvent()
}

// TestLeaderOfOwnScopeDies keeps the machine as long as PID 1 has its scope
// active: its other processes are the machine.
func TestLeaderOfOwnScopeDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	m := w.create("a", leader)
	leader.kill()
	w.pid1.wantCall(t, "state")
	w.get("a")
	if _, err := w.Create(t.Context(), registrationOf("a", start(t, "")), nil, true); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("the name: %v", err)
	}
	w.wantNoEvent()
	w.pid1.setState(m.Unit, "inactive")
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: m.Unit})
	w.wantEvent("-a")
	if w.pid1.called("stop") != nil {
		t.Error("the scope was stopped")
	}
}

// TestNameOfAnEmptyScope takes the name of a machine that has nobody left, and
// that PID 1 is about to collect.
func TestNameOfAnEmptyScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	m := w.create("a", leader)
	w.pid1.desert(m.Unit)
	leader.kill()
	next := registrationOf("a", start(t, newUnit(t)))
	registered := make(chan error)
	go func() {
		_, err := w.Register(t.Context(), next)
		registered <- err
	}()
	w.pid1.wantCall(t, "stop "+m.Unit)
	w.pid1.setState(m.Unit, "inactive")
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: m.Unit})
	if err := <-registered; err != nil {
		t.Error(err)
	}
	w.wantEvent("-a")
	w.wantEvent("+a")
}

// TestScopeThatPID1HasOverlooked stops an own scope that is active with nobody
// in it, which would keep the name for ever.
func TestScopeThatPID1HasOverlooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leader := start(t, "")
	m := w.create("a", leader)
	w.pid1.desert(m.Unit)
	leader.kill()
	w.pid1.wantCall(t, "stop "+m.Unit)
	w.pid1.setState(m.Unit, "inactive")
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: m.Unit})
	w.wantEvent("-a")
}
