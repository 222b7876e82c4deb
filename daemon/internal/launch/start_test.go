package launch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/logline"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	name    = "db"
	itsUnit = "machine-db.scope"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wantLeft checks what is left of a start that is over.
func (w *world) wantLeft(t *testing.T, s *start, asked ...string) {
	t.Helper()
	<-s.ended
	if diff := cmp.Diff(asked, w.took()); diff != "" {
		t.Errorf("PID 1 and images were asked (-want +got):\n%s", diff)
	}
	if left := w.records(t); len(left) > 0 {
		t.Errorf("there are still records: %v", left)
	}
}

func TestStartTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guests.say(notBooted)
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitReady})
	ctx := within(t)
	r, err := s.await(ctx, machd.WaitNo)
	if r != (Result{itsUnit, machd.StateQueued, ""}) || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	if diff := cmp.Diff([]string{name}, w.records(t)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	w.pid1.result <- "done"
	w.register(t, name)
	r, err = s.await(ctx, machd.WaitRegistered)
	if r != (Result{itsUnit, machd.StateRegistered, ""}) || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	w.guests.say(aProgram)
	r, err = s.await(ctx, machd.WaitReady)
	if r != (Result{itsUnit, machd.StateReady, ""}) || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	w.wantLeft(t, s, "start "+itsUnit, "let go of "+itsUnit)
	if diff := cmp.Diff([]Event{{Name: name, Unit: itsUnit, Ready: true}}, w.told()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Who waits for being listed only is not bothered by what comes after, and
// whoever joins him may wait for more.
func TestListedIsEnoughForSome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guests.say(notBooted)
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitRegistered})
	w.pid1.result <- "done"
	w.register(t, name)
	r, err := s.await(within(t), machd.WaitRegistered)
	if r.State != machd.StateRegistered || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	w.wantLeft(t, s, "start "+itsUnit)
	w.guests.say(aProgram)
	r, err = s.await(within(t), machd.WaitReady)
	if r.State != machd.StateReady || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	w.awaitTold(t, 1)
}

// What nobody waits for is told of all the same.
func TestEndOfWhatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guests.say(notBooted)
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitNo})
	w.pid1.result <- "done"
	w.register(t, name)
	<-s.ended
	w.pid1.set(itsUnit, unit.Run{State: "failed", Result: "exit-code", ExitCode: cldExited, ExitStatus: 3})
	if err := w.machines.Unregister(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	want := []Event{{Name: name, Unit: itsUnit, Reason: itsUnit + ` failed with result "exit-code", exit status 3`}}
	if diff := cmp.Diff(want, w.awaitTold(t, 1)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// PID 1 refuses to try what it has tried too often, and tells of the last time.
func TestUnitThatWasStartedTooOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := unit.Run{State: "failed", Result: "exit-code", Invocation: [16]byte{1}}
	w.pid1.set(itsUnit, last)
	w.pid1.onStart = func(unitName string) { w.pid1.set(unitName, last) }
	p := planned(name)
	p.Existing = true
	s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
	w.pid1.result <- "failed"
	_, err := s.await(within(t), machd.WaitReady)
	if err == nil || !strings.Contains(err.Error(), `"systemctl reset-failed `+itsUnit+`" allows it again`) {
		t.Errorf("got %v", err)
	}
	// What the administrator has set up stays failed for him to see.
	w.wantLeft(t, s, "hold "+itsUnit, "start "+itsUnit, "let go of "+itsUnit)
}

func TestStartGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitReady})
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.await(gone, machd.WaitReady); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.pid1.result <- "done"
	w.register(t, name)
	if r, err := s.await(within(t), machd.WaitReady); r.State != machd.StateReady || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	there, fresh := filepath.Join(dir, "there"), filepath.Join(dir, "made", "fresh")
	if err := os.WriteFile(there, []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	p := planned(name)
	p.Clone = &CloneImage{From: "base", To: name}
	p.Files = []File{{there, []byte("after"), 0o644}, {fresh, []byte("x"), 0o644}}
	s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
	<-s.queued
	if content, err := os.ReadFile(there); string(content) != "after" || err != nil {
		t.Errorf("the file has %q, %v", content, err)
	}
	w.pid1.set(itsUnit, unit.Run{State: "failed", Result: "exit-code", ExitCode: cldExited, ExitStatus: 3})
	w.pid1.result <- "failed"

	_, err := s.await(within(t), machd.WaitReady)
	var failure *Failure
	if !errors.As(err, &failure) || machine1.ErrorName(err) != machine1.ErrorName(machine1.ErrJobFailed) {
		t.Fatalf("got %v", err)
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	if want := `machine-db.scope failed with result "exit-code", exit status 3`; first != want {
		t.Errorf("got %q, want %q", first, want)
	}
	w.wantLeft(t, s, "clone base to db", "reload", "start "+itsUnit, "reset "+itsUnit, "reload", "remove db", "let go of "+itsUnit)
	if content, err := os.ReadFile(there); string(content) != "before" || err != nil {
		t.Errorf("the file has %q, %v", content, err)
	}
	if _, err := os.Stat(filepath.Dir(fresh)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new file's directory: %v", err)
	}
	if diff := cmp.Diff([]Event{{Name: name, Unit: itsUnit, Reason: first}}, w.told()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A unit that was there already is not ours to end.
func TestRefusedUnitIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.refuses = machine1.ErrUnitExists
	p := planned(name)
	p.Clone = &CloneImage{From: "base", To: name}
	s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
	if _, err := s.await(within(t), machd.WaitReady); !errors.Is(err, machine1.ErrUnitExists) {
		t.Errorf("got %v", err)
	}
	w.wantLeft(t, s, "clone base to db", "start "+itsUnit, "remove db")
}

// PID 1 may start a unit without having said so, when it executes itself anew.
func TestUnitOfWhichPID1SaysNothingIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pid1.refuses = machine1.ErrNoReply
	w.pid1.set(itsUnit, unit.Run{State: "active"})
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitReady})
	if _, err := s.await(within(t), machd.WaitReady); err == nil {
		t.Error("it has started")
	}
	w.wantLeft(t, s, "start "+itsUnit, "stop "+itsUnit, "reset "+itsUnit, "let go of "+itsUnit)
}

func TestCloneThatFailsIsAllThatHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.images.full = true
	w.cfg.Images = w.images
	p := planned(name)
	p.Clone = &CloneImage{From: "base", To: name}
	s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
	if _, err := s.await(within(t), machd.WaitReady); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
	w.wantLeft(t, s, "clone base to db")
	// An image of that name is somebody's.
	w.images.have[name] = true
	s = w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
	if _, err := s.await(within(t), machd.WaitReady); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	w.wantLeft(t, s)
}

func TestWhatIsNeverReadyIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guests.say(notBooted)
	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitReady, WaitTimeout: 2 * time.Second})
	w.pid1.result <- "done"
	w.register(t, name)
	_, err := s.await(within(t), machd.WaitReady)
	if machine1.ErrorName(err) != machine1.ErrorName(machine1.ErrTimeout) ||
		!strings.Contains(err.Error(), "2s") || !strings.Contains(err.Error(), "wait=registered") {
		t.Errorf("got %v", err)
	}
	w.wantLeft(t, s, "start "+itsUnit, "stop "+itsUnit, "reset "+itsUnit, "let go of "+itsUnit)
}

// A command may be done before anybody has looked; a system may not.
func TestWhatEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, boots := range []bool{false, true} {
		w := newWorld(t)
		w.pid1.onStart = func(unitName string) { w.pid1.set(unitName, unit.Run{State: "inactive", Result: "success"}) }
		p := planned(name)
		p.Boots = boots
		s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
		w.pid1.result <- "done"
		r, err := s.await(within(t), machd.WaitReady)
		if boots != (err != nil) || !boots && r.Note != "it has ended already" {
			t.Errorf("boots: %t; got %v, %v", boots, r, err)
		}
	}
}

func TestSameStartIsJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := machd.StartOptions{Wait: machd.WaitReady, Limits: machd.Limits{Memory: "1G"}}
	s := w.begin(planned(name), o)
	for what, other := range map[string]machd.StartOptions{
		"the same":     {Wait: machd.WaitNo, Limits: machd.Limits{Memory: "1G"}},
		"without any":  {Wait: machd.WaitReady},
		"another time": {Wait: machd.WaitReady, WaitTimeout: time.Hour, Limits: machd.Limits{Memory: "1G"}},
	} {
		if got, err := w.claim(t.Context(), name, other); got != s || err != nil {
			t.Errorf("%s: got %v, %v", what, got, err)
		}
	}
	_, err := w.claim(t.Context(), name, machd.StartOptions{Hostname: "h"})
	if !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("got %v", err)
	}
}

func TestReasonOfAFailure(t *testing.T) {
	t.Parallel()
	const u = "machine-x.service"
	for want, f := range map[string]Failure{
		u + ` failed with result "exit-code", exit status 1`:                                             {Run: unit.Run{Result: "exit-code", ExitCode: cldExited, ExitStatus: 1}},
		u + ` failed with result "signal", killed by signal 9`:                                           {Job: "failed", Run: unit.Run{Result: "signal", ExitCode: 2, ExitStatus: 9}},
		u + ` failed with result "resources"`:                                                            {Job: "failed", Run: unit.Run{Result: "resources"}},
		u + ": a unit that it needs failed":                                                              {Job: "dependency", Run: unit.Run{Result: "success"}},
		u + ": the job was canceled, as by a stop":                                                       {Job: "canceled", Run: unit.Run{Result: "success"}},
		u + " ended before the machine was ready":                                                        {Run: unit.Run{Result: "success"}},
		u + " ended, and PID 1 does not know how":                                                        {},
		u + " was ended again: it has not started within 5m0s":                                           {Late: "it has not started within 5m0s"},
		u + ` was started too often in a short time; "systemctl reset-failed ` + u + `" allows it again`: {Job: "failed", Run: unit.Run{Result: "start-limit-hit"}},
	} {
		f.Unit, f.Log = u, []string{"one", "two"}
		if got := f.Error(); got != want+"\none\ntwo" {
			t.Errorf("got %q, want %q and two lines", got, want)
		}
	}
}

func TestLogLinesAreFitForABus(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", logline.Max)
	got := parseLines([]byte(`{"MESSAGE":"one"}` + `{"SYSLOG_IDENTIFIER":"umount","MESSAGE":"not there"}` + "\n" + `{"MESSAGE":[27,91,51,49,109,98,97,100,255,10]}` + "\n" +
		`{"MESSAGE":null}` + "\n" + `{"MESSAGE":"\u001b[0;1;31mred\u001b[0m\ttab\u0000"}` + "\n" + `{"MESSAGE":"` + long + `"}` + "\nbroken"))
	want := []string{"one", "bad?", "red tab", strings.Repeat("é", logline.Max/2) + " …"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
