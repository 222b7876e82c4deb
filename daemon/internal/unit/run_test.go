package unit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestWhatPID1SaysBecomesEvents(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	pid1.say("JobRemoved", uint32(7), jobPath("7"), "a.scope", "failed")
	pid1.say("UnitRemoved", "a.scope", unitPath("a.scope"))
	pid1.sayChanged(unitPath("b.service"))

	for _, want := range []unit.Event{
		{Kind: unit.JobRemoved, Unit: "a.scope", Job: jobPath("7"), Result: "failed"},
		{Kind: unit.UnitRemoved, Unit: "a.scope"},
		{Kind: unit.UnitChanged, Unit: "b.service"},
	} {
		if diff := cmp.Diff(l.next(), want); diff != "" {
			t.Error(diff)
		}
	}
	l.cancel()
	if err := l.end(); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

func TestNoSignalIsLostOrLateHoweverManyThereAre(t *testing.T) {
	t.Parallel()
	const signals = 20_000
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b)
	for i := range signals {
		pid1.say("UnitRemoved", strconv.Itoa(i)+".service", unitPath("x"))
	}
	// Nobody has taken a signal yet, and calls get through all the same.
	if _, err := l.ActiveState(t.Context(), "active.service"); err != nil {
		t.Fatal(err)
	}
	l.start()
	for i := range signals {
		if got, want := l.next().Unit, strconv.Itoa(i)+".service"; got != want {
			t.Fatalf("signal %d is about %s", i, got)
		}
	}
}

func TestOnlyPID1IsBelieved(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	liar := b.Dial()
	for _, s := range []struct {
		member string
		args   []any
	}{
		{manager + ".JobRemoved", []any{uint32(9), jobPath("9"), "a.scope", "done"}},
		{manager + ".UnitRemoved", []any{"a.scope", unitPath("a.scope")}},
		{manager + ".Reloading", []any{true}},
		{manager + ".Reloading", []any{false}},
		{"org.freedesktop.DBus.NameOwnerChanged", []any{systemd1, "", ":1.1"}},
	} {
		liar.Send(directed(l.name, managerPath, s.member, s.args...), nil)
	}
	if err := liar.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	pid1.say("UnitRemoved", "b.scope", unitPath("b.scope"))
	if got := l.next(); got.Unit != "b.scope" {
		t.Errorf("a stranger was believed: %v", got)
	}
}

// directed returns a signal to one connection only, which needs no match.
func directed(to string, path dbus.ObjectPath, member string, args ...any) *dbus.Message {
	dot := strings.LastIndexByte(member, '.')
	return &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(member[:dot]),
			dbus.FieldMember:      dbus.MakeVariant(member[dot+1:]),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(args...)),
		},
		Body: args,
	}
}

func TestSignalsOfAnotherShapeAreIgnored(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	pid1.say("JobRemoved")
	pid1.say("JobRemoved", uint32(7), "/job/7", "a.scope", "done")
	pid1.say("JobRemoved", uint32(7), jobPath("7"), "a.scope", int32(1))
	pid1.say("UnitRemoved", uint64(1))
	pid1.say("Reloading", "false")
	pid1.say("Reloading", uint32(0))
	pid1.say("UnitRemoved", "b.scope", unitPath("b.scope"))
	if got := l.next(); got.Unit != "b.scope" {
		t.Errorf("nonsense was understood as %v", got)
	}
}

func TestRemovalsDuringAReloadAreNotBelieved(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	pid1.say("Reloading", true)
	pid1.say("UnitRemoved", "a.scope", unitPath("a.scope"))
	pid1.say("JobRemoved", uint32(7), jobPath("7"), "a.scope", "done")
	pid1.say("Reloading", false)
	pid1.say("UnitRemoved", "b.scope", unitPath("b.scope"))
	for _, want := range []unit.Event{
		{Kind: unit.JobRemoved, Unit: "a.scope", Job: jobPath("7"), Result: "done"},
		{Kind: unit.Reloaded},
		{Kind: unit.UnitRemoved, Unit: "b.scope"},
	} {
		if diff := cmp.Diff(l.next(), want); diff != "" {
			t.Error(diff)
		}
	}
}

// The order of signals is what daemon-reexec of systemd 257 and 262 shows.
func TestPID1IsFollowedWhenItExecutesItselfAnew(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	before, after := newPID1(t, b), newUnnamedPID1(t, b)
	l := connect(t, b).start()
	before.say("Reloading", true)
	before.leave()
	before.say("UnitRemoved", "old.scope", unitPath("old.scope"))
	after.takeName()
	if got := l.next(); got.Kind != unit.Reloaded {
		t.Fatalf("the new PID 1 brought %v, want Reloaded", got)
	}
	if n := after.subscriptions(); n != 1 {
		t.Errorf("there were %d subscriptions when everybody was told to look", n)
	}
	after.say("UnitRemoved", "a.scope", unitPath("a.scope"))
	after.say("Reloading", false)
	after.say("UnitRemoved", "b.scope", unitPath("b.scope"))
	for _, want := range []unit.Event{{Kind: unit.Reloaded}, {Kind: unit.UnitRemoved, Unit: "b.scope"}} {
		if diff := cmp.Diff(l.next(), want); diff != "" {
			t.Error(diff)
		}
	}
}

func TestARefusedSubscriptionIsTriedAgainAfterTheReload(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	before, after := newPID1(t, b), newUnnamedPID1(t, b)
	l := connect(t, b).start()
	after.refuse = errors.New("not yet")
	before.leave()
	after.takeName()
	l.next()
	after.mu.Lock()
	after.refuse = nil
	after.mu.Unlock()
	after.say("Reloading", false)
	l.next()
	if got := l.next(); got.Kind != unit.Reloaded || after.subscriptions() != 2 {
		t.Errorf("there were %d subscriptions, then %v", after.subscriptions(), got)
	}
}

func TestConnectWaitsForPID1(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newUnnamedPID1(t, b)
	waiting := make(logged, 1)
	connected := make(chan error, 1)
	conn := b.Dial()
	go func() {
		_, err := unit.Connect(t.Context(), conn, slog.New(slog.NewTextHandler(waiting, nil)))
		connected <- err
	}()
	<-waiting
	pid1.takeName()
	if err := <-connected; err != nil || pid1.subscriptions() != 1 {
		t.Errorf("Connect: %v, after %d subscriptions", err, pid1.subscriptions())
	}
}

// logged gets what is logged.
type logged chan string

func (l logged) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestConnectEndsWithItsContextOrConnection(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	for name, c := range map[string]struct {
		end  func(cancel context.CancelFunc, conn *dbus.Conn)
		want error
	}{
		"the context":    {func(cancel context.CancelFunc, _ *dbus.Conn) { cancel() }, context.Canceled},
		"the connection": {func(_ context.CancelFunc, conn *dbus.Conn) { conn.Close() }, machine1.ErrDisconnected},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		waiting := make(logged, 1)
		connected := make(chan error, 1)
		conn := b.Dial()
		go func() {
			_, err := unit.Connect(ctx, conn, slog.New(slog.NewTextHandler(waiting, nil)))
			connected <- err
		}()
		<-waiting
		c.end(cancel, conn)
		if err := <-connected; !errors.Is(err, c.want) {
			t.Errorf("%s ended: Connect: %v, want %v", name, err, c.want)
		}
	}
}

func TestTheEndOfTheConnectionEndsEverything(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	newPID1(t, b)
	l := connect(t, b).start()
	wait := make(chan error, 1)
	go func() {
		_, err := l.WaitJob(t.Context(), jobPath("99"))
		wait <- err
	}()
	b.Stop()
	if err := l.end(); !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("Run returned %v", err)
	}
	if err := <-wait; !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("WaitJob returned %v", err)
	}
}

func TestAJobIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	const waiters = 3
	results := make(chan string, waiters)
	for range waiters {
		go func() {
			result, err := l.WaitJob(t.Context(), jobPath("7"))
			results <- fmt.Sprint(result, err)
		}()
	}
	brief, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.WaitJob(brief, jobPath("7")); !errors.Is(err, context.Canceled) || !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("WaitJob returned %v, want the context's end", err)
	}
	pid1.say("JobRemoved", uint32(6), jobPath("6"), "a.scope", "done")
	pid1.say("JobRemoved", uint32(7), jobPath("7"), "b.scope", "dependency")
	for range waiters {
		if got, want := <-results, "dependency<nil>"; got != want {
			t.Errorf("WaitJob = %s, want %s", got, want)
		}
	}
	for id, want := range map[string]string{"6": "done", "7": "dependency"} {
		if got, err := l.WaitJob(t.Context(), jobPath(id)); got != want || err != nil {
			t.Errorf("WaitJob afterwards = %q, %v, want %s", got, err, want)
		}
	}
}

func TestManyEndedJobsAreRemembered(t *testing.T) {
	t.Parallel()
	const many = 10_000
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	l := connect(t, b).start()
	for i := range many {
		pid1.say("JobRemoved", uint32(i), jobPath(strconv.Itoa(i)), "a.scope", strconv.Itoa(i))
	}
	for range many {
		l.next()
	}
	for _, i := range []int{many - 1, many - 4096} {
		id := strconv.Itoa(i)
		if got, err := l.WaitJob(t.Context(), jobPath(id)); got != id || err != nil {
			t.Errorf("WaitJob(%d) = %q, %v", i, got, err)
		}
	}
}
