package launch

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// underWay returns the start that goes on for a machine.
func (w *world) underWay(t *testing.T, name string) *start {
	t.Helper()
	<-w.starts.ready
	w.starts.mu.Lock()
	defer w.starts.mu.Unlock()
	s := w.starts.byName[name]
	if s == nil {
		t.Fatalf("no start of %s goes on", name)
	}
	return s
}

func TestNextDaemonGoesOnWithAStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := machd.StartOptions{Wait: machd.WaitReady, Hostname: "h"}
	s := w.begin(planned(name), o)
	<-s.queued
	w.stop()
	if _, err := s.await(t.Context(), machd.WaitReady); machine1.ErrorName(err) != machine1.ErrorName(machine1.ErrNoReply) {
		t.Errorf("the caller is told %v", err)
	}
	w.took()
	w.restart(t, w.cfg.Dir)
	s = w.underWay(t, name)
	// Its caller asks again, for the same.
	again, err := w.claim(t.Context(), name, o)
	w.register(t, name)
	if again != s || err != nil {
		t.Errorf("got another start, %v", err)
	}
	if r, err := s.await(within(t), machd.WaitReady); r.State != machd.StateReady || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	w.wantLeft(t, s, "hold "+itsUnit, "let go of "+itsUnit)
}

func TestNextDaemonTakesBackAStart(t *testing.T) {
	t.Parallel()
	existing := func(r *record) { r.Existing = true }
	failed := &unit.Run{State: "failed", Result: "exit-code"}
	for what, tt := range map[string]struct {
		asked, held bool
		now         *unit.Run
		change      func(*record) // or nil
		want        []string
	}{
		// And begun again, for which it is planned.
		"whose unit was not started": {false, false, nil, nil, []string{"remove db", "plan"}},
		"whose unit somebody else started": {false, false, &unit.Run{State: "active"}, nil,
			[]string{"remove db", "plan"}},
		"whose holder is gone and whose unit somebody else started": {false, true, &unit.Run{State: "active"}, nil,
			[]string{"remove db"}},
		"whose unit is not there": {true, false, nil, nil,
			[]string{"reset " + itsUnit, "remove db", "plan"}},
		"whose holder is gone": {true, true, nil, nil, []string{"reset " + itsUnit, "remove db"}},
		"whose unit failed": {true, false, failed, nil,
			[]string{"hold " + itsUnit, "let go of " + itsUnit, "reset " + itsUnit, "remove db", "plan"}},
		"whose unit failed twice": {true, false, failed, func(r *record) { r.Again = true },
			[]string{"hold " + itsUnit, "reset " + itsUnit, "remove db", "let go of " + itsUnit}},
		// systemd-nspawn went on without having registered it.
		"whose unit has no machine": {true, false, &unit.Run{State: "active", Type: "notify"}, nil,
			[]string{"hold " + itsUnit, "let go of " + itsUnit, "stop " + itsUnit, "reset " + itsUnit, "remove db", "plan"}},
		// PID 1 keeps it, with how it failed.
		"of an administrator's unit that failed": {true, false, failed, existing, []string{"remove db", "plan"}},
		"of an administrator's unit that failed twice": {true, false, failed, func(r *record) { r.Existing, r.Again = true, true },
			[]string{"hold " + itsUnit, "remove db", "let go of " + itsUnit}},
		"of an administrator's unit that ended": {true, false, &unit.Run{State: "inactive", Result: "success", Invocation: [16]byte{1}}, existing,
			[]string{"hold " + itsUnit, "remove db", "let go of " + itsUnit}},
		"of an administrator's unit that PID 1 was not asked for after all": {true, false,
			&unit.Run{State: "inactive", Result: "success", Invocation: [16]byte{1}}, func(r *record) { r.Existing, r.Before = true, [16]byte{1} },
			[]string{"remove db", "plan"}},
		"whose machine was there, and ended": {true, false, nil, func(r *record) { r.Registered = true },
			[]string{"reset " + itsUnit, "remove db"}},
	} {
		w := newWorld(t)
		dir := t.TempDir()
		r := record{Name: name, Unit: itsUnit, Boots: true, Since: time.Now(), Cloned: name, Asked: tt.asked, Held: tt.held,
			Options: machd.StartOptions{Wait: machd.WaitReady}}
		if tt.change != nil {
			tt.change(&r)
		}
		if err := r.save(dir); err != nil {
			t.Fatal(err)
		}
		w.images.have[name] = true
		if tt.now != nil {
			w.pid1.set(itsUnit, *tt.now)
		}
		w.restart(t, dir)
		<-w.starts.ready
		w.awaitTold(t, 1)
		w.stop()
		if got := w.took(); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("a start %s: PID 1 and images were asked %q, want %q", what, got, tt.want)
		}
		if left := w.records(t); len(left) > 0 {
			t.Errorf("a start %s: there are still records: %v", what, left)
		}
		if told := w.told(); len(told) != 1 || told[0].Ready {
			t.Errorf("a start %s: told %v", what, told)
		}
	}
}

// The unit has been asked for, and has not made the machine's root yet.
func TestNextDaemonKeepsTheImageOfAStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir, locks, image := t.TempDir(), t.TempDir(), t.TempDir()
	p := planned(name)
	p.Throwaway = &Throwaway{Image: image}
	if err := newRecord(p, machd.StartOptions{}).save(dir); err != nil {
		t.Fatal(err)
	}
	w.pid1.set(itsUnit, unit.Run{State: "inactive", HasJob: true})
	w.cfg.LockDir, w.cfg.Pool = locks, t.TempDir()
	w.Launcher = New(w.cfg)
	w.cfg.Dir = dir
	w.Restore(t.Context())
	if _, err := imagelock.Path(locks, image, true); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the image can be changed: %v", err)
	}
	running(t, w.Run)
	w.pid1.set(itsUnit, unit.Run{State: "failed"})
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: itsUnit})
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		lock, err := imagelock.Path(locks, image, true)
		if err == nil {
			lock.Release()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the image cannot be changed when the unit is over: %v", err)
		}
	}
}

// PID 1 forgets the unit between two questions.
func TestNextDaemonSeesAUnitGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	if err := (record{Name: name, Unit: itsUnit, Boots: true, Since: time.Now(), Asked: true}).save(dir); err != nil {
		t.Fatal(err)
	}
	w.pid1.set(itsUnit, unit.Run{State: "deactivating"})
	w.pid1.onHold = func(name string) error {
		w.pid1.forget(name)
		return machine1.ErrNoSuchUnit
	}
	w.restart(t, dir)
	w.awaitTold(t, 1)
	if diff := cmp.Diff([]string{"hold " + itsUnit, "reset " + itsUnit, "plan"}, w.took()); diff != "" {
		t.Errorf("PID 1 was asked (-want +got):\n%s", diff)
	}
}

// A start that is begun again says so, for the daemon after this one.
func TestStartIsBegunAgainOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	<-w.starts.ready
	s := newStart(w.Launcher, name, machd.StartOptions{})
	s.again, s.plan = true, planned(name)
	if err := s.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(w.cfg.Dir, name))
	var r record
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil || !r.Again {
		t.Errorf("the record is %s, %v", content, err)
	}
}

// Who started the machine meanwhile is not to have it ended by the next daemon
// that finds the record.
func TestNothingIsLeftOfAStartThatIsNotNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	<-w.starts.ready
	s := newStart(w.Launcher, name, machd.StartOptions{})
	s.record = record{Name: name, Unit: itsUnit}
	if err := s.record.save(w.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	s.run(t.Context(), func(context.Context) error { return errRunning })
	if left := w.records(t); len(left) > 0 || s.err != nil {
		t.Errorf("there are still %v; %v", left, s.err)
	}
}

func TestRecordsAreRootsAndMustMakeSense(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	if err := (record{Name: name}).save(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	for file, content := range map[string]string{"other": `{"Name":"db"}`, "half": `{"Na`} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	w.restart(t, dir)
	<-w.starts.ready
	if left := w.records(t); len(left) > 0 {
		t.Errorf("there are still %v", left)
	}
}

func TestStartWaitsForItsPredecessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, stock := carriers(name)[0], carriers(name)[1]
	w.pid1.set(own, unit.Run{State: "failed"})
	w.pid1.set(stock, unit.Run{State: "deactivating"})
	s := newStart(w.Launcher, name, machd.StartOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.clear(ctx)
	if !errors.Is(err, machine1.ErrTimeout) || !strings.Contains(err.Error(), stock) {
		t.Errorf("got %v", err)
	}
	w.pid1.set(stock, unit.Run{State: "inactive"})
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: stock})
	if err := s.clear(within(t)); err != nil {
		t.Error(err)
	}
	if got := w.took(); strings.Join(got, "|") != "reset "+own {
		t.Errorf("PID 1 was asked %q", got)
	}
}

func TestNamesakeOfAnotherUnitIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(t, name)
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	err := newStart(w.Launcher, name, machd.StartOptions{}).clear(within(t))
	if !errors.Is(err, machine1.ErrMachineExists) ||
		err.Error() != "Machine 'db' is running already, in machine-db.scope, registered by systemd-nspawn" {
		t.Errorf("got %v", err)
	}
	// Its unit is ending, so it is waited for.
	w.pid1.set(itsUnit, unit.Run{State: "deactivating"})
	done := make(chan error, 1)
	go func() { done <- newStart(w.Launcher, name, machd.StartOptions{}).clear(within(t)) }()
	select {
	case err := <-done:
		t.Fatalf("it was not waited for: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := w.machines.Unregister(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
