package machine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
)

// entries gets the fields of the log lines that say how machines ended.
type entries chan map[string]string

func (e entries) Enabled(context.Context, slog.Level) bool { return true }
func (e entries) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e entries) WithGroup(string) slog.Handler            { return e }

func (e entries) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{"MESSAGE": r.Message}
	r.Attrs(func(a slog.Attr) bool {
		fields[strings.ToUpper(a.Key)] = a.Value.String()
		return true
	})
	if fields["MESSAGE_ID"] == machd.MessageMachineEnded {
		e <- fields
	}
	return nil
}

// recorded has w's machines write what is returned.
func (w *world) recorded() entries {
	e := make(entries, 10)
	w.Manager.log = slog.New(e)
	return e
}

func (e entries) next(t *testing.T) map[string]string {
	t.Helper()
	select {
	case fields := <-e:
		return fields
	case <-time.After(patience):
		t.Fatal("nothing says how the machine ended")
		return nil
	}
}

// What PID 1 says of a service as it ends, in its order: first of the kind, then
// of every unit.
func serviceEnds(name, result string, code, status int32, state string) []unit.Event {
	return []unit.Event{
		{Kind: unit.UnitChanged, Unit: name, Change: unit.Change{Result: result, Code: code, Status: status}},
		{Kind: unit.UnitChanged, Unit: name, Change: unit.Change{State: state, Invocation: "c0ffee"}},
	}
}

// endLeader ends the machine web, of whose unit PID 1 tells these events before
// or after.
func (w *world) endLeader(leader *process, before bool, events ...unit.Event) {
	w.t.Helper()
	tell := func() {
		for _, e := range events {
			w.UnitEvent(e)
		}
	}
	if before {
		tell()
	}
	leader.kill()
	w.wantEvent("-web")
	if !before {
		tell()
	}
}

func TestHowAServiceEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		result       string
		code, status int32
		state        string
		want         string // result, code, status
	}{
		{"by itself", "success", 1, 0, "inactive", "success exited 0"},
		{"with a status, by a signal", "exit-code", 1, 1, "failed", "signal killed 9"},
		{"killed", "signal", 2, 9, "failed", "signal killed 9"},
		{"out of memory", "oom-kill", 2, 9, "failed", "oom-kill killed 9"},
		{"too slow", "timeout", 2, 9, "failed", "timeout killed 9"},
		{"to be started again", "success", 1, 133, "activating", "reboot exited 133"},
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, told before: %t", tt.name, before), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				log := w.recorded()
				leader := start(t, newUnit(t))
				m := w.register("web", leader)
				w.endLeader(leader, before, serviceEnds(m.Unit, tt.result, tt.code, tt.status, tt.state)...)
				f := log.next(t)
				if got := fmt.Sprint(f[machd.FieldResult], " ", f[machd.FieldCode], " ", f[machd.FieldStatus]); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				for field, want := range map[string]string{
					"NAME": "web", machd.FieldUnit: m.Unit, machd.FieldService: "test", machd.FieldClass: "container",
					machd.FieldUID: "0", machd.FieldSince: fmt.Sprint(m.Realtime), machd.FieldInvocation: "c0ffee", machd.FieldTerminated: "",
				} {
					if f[field] != want {
						t.Errorf("%s is %q, want %q", field, f[field], want)
					}
				}
				w.wantNoneFollowed()
			})
		}
	}
}

// A supervisor that passes a status on is believed.
func TestTheStatusOfASupervisor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.recorded()
	enough := filepath.Join(t.TempDir(), "enough")
	leader := startCommand(t, newUnit(t), "sh", "-c", "until test -e "+enough+"; do sleep 0.01; done; exit 4")
	m := w.register("web", leader)
	must(t, os.WriteFile(enough, nil, 0o644))
	_ = leader.cmd.Wait()
	w.wantEvent("-web")
	for _, e := range serviceEnds(m.Unit, "exit-code", 1, 3, "failed") {
		w.UnitEvent(e)
	}
	if f := log.next(t); f[machd.FieldResult] != "exit-code" || f[machd.FieldCode] != "exited" || f[machd.FieldStatus] != "3" {
		t.Errorf("%v", f)
	}
}

// The unit of which a machine has a part tells of its supervisor, too, and may
// do so before the leader is known to be dead, or be forgotten by then.
func TestTheStatusOfASupervisorBesideTheMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		result       string
		code, status int32
		state        string
		forgotten    bool
		want         string
	}{
		{"success", 1, 133, "activating", false, machd.EndedReboot},
		{"oom-kill", 2, 9, "failed", true, machd.EndedOOMKill},
	} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, told before: %t", tt.want, before), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				log := w.recorded()
				unitName := newUnit(t, "payload")
				leader, supervisor := start(t, unitName+"/payload"), start(t, unitName)
				r := registrationOf("web", leader)
				r.Supervisor = supervisor.open()
				m, err := w.Register(t.Context(), r)
				must(t, err)
				w.wantEvent("+web")
				if m.OwnsUnit() {
					t.Fatal("the machine owns the unit")
				}
				events := serviceEnds(m.Unit, tt.result, tt.code, tt.status, tt.state)
				if tt.forgotten {
					events = append(events, unit.Event{Kind: unit.UnitRemoved, Unit: m.Unit})
				}
				w.endLeader(leader, before, events...)
				if f := log.next(t); f[machd.FieldResult] != tt.want || f[machd.FieldInvocation] == "" {
					t.Errorf("%v", f)
				}
				w.wantNoneFollowed()
			})
		}
	}
}

// wantNoneFollowed waits until nothing is kept of any unit.
func (w *world) wantNoneFollowed() {
	w.t.Helper()
	n := -1
	for end := time.Now().Add(patience); n != 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		w.ends.mu.Lock()
		n = len(w.ends.byUnit)
		w.ends.mu.Unlock()
	}
	if n != 0 {
		w.t.Errorf("%d units are still followed", n)
	}
}

// What a service says while it runs is not kept, nor what others say.
func TestOfRunningUnitsNothingIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.register("web", start(t, newUnit(t)))
	for _, e := range []unit.Event{
		{Kind: unit.UnitChanged, Unit: m.Unit, Change: unit.Change{Result: "success"}},
		{Kind: unit.UnitChanged, Unit: m.Unit, Change: unit.Change{State: "active"}},
		{Kind: unit.UnitChanged, Unit: "other.service", Change: unit.Change{Result: "signal", Code: 2, Status: 9}},
		{Kind: unit.UnitChanged, Unit: "other.service", Change: unit.Change{State: "failed"}},
		{Kind: unit.UnitRemoved, Unit: "other.service"},
		// The service lost one main process and went on with another.
		{Kind: unit.UnitChanged, Unit: m.Unit, Change: unit.Change{Result: "success", Code: 1}},
		{Kind: unit.UnitChanged, Unit: m.Unit, Change: unit.Change{Result: "success"}},
		{Kind: unit.UnitChanged, Unit: m.Unit, Change: unit.Change{State: "active"}},
	} {
		w.UnitEvent(e)
	}
	w.wantNoneFollowed()
}

// A machine in a scope is known by its leader, which somebody else has for a
// child.
func TestHowTheLeaderOfAScopeEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.recorded()
	leader := start(t, "")
	m := w.create("web", leader)
	must(t, w.Terminate(t.Context(), "web"))
	leader.kill()
	w.pid1.setState(m.Unit, "inactive")
	w.pid1.finish(w.get("web").ScopeJob, "done")
	w.UnitEvent(removed(m.Unit))
	w.wantEvent("-web")
	f := log.next(t)
	if f[machd.FieldResult] != machd.EndedSignal || f[machd.FieldCode] != "killed" || f[machd.FieldStatus] != "9" {
		t.Errorf("%v", f)
	}
	if f[machd.FieldTerminated] != "true" {
		t.Errorf("it was terminated, and %v", f)
	}
}

func TestUnregisteredMachinesDidNotEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.recorded()
	w.register("web", start(t, newUnit(t)))
	must(t, w.Unregister(t.Context(), "web"))
	if f := log.next(t); f[machd.FieldResult] != machd.EndedUnregistered || f[machd.FieldCode] != "" {
		t.Errorf("%v", f)
	}
}

// What ended while there was no daemon is told by the next one.
func TestEndsThatNobodySaw(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	leader := start(t, newUnit(t))
	first := idleWorldIn(t, dir)
	m := first.register("web", leader)
	leader.kill()

	next := idleWorldIn(t, dir)
	log := next.recorded()
	must(t, next.Restore(t.Context()))
	if f := log.next(t); f["LEADER"] != fmt.Sprint(leader.pid()) {
		t.Errorf("another machine than process %d: %v", leader.pid(), f)
	} else if f[machd.FieldResult] != machd.EndedMissed || f["NAME"] != "web" || f[machd.FieldSince] != fmt.Sprint(m.Realtime) {
		t.Errorf("%v", f)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
