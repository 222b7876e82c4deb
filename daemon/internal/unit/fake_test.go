package unit_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

const (
	systemd1    = "org.freedesktop.systemd1"
	manager     = systemd1 + ".Manager"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	properties  = "org.freedesktop.DBus.Properties"

	// patience is how long a test waits for what has to happen.
	patience = 20 * time.Second
)

func jobPath(id string) dbus.ObjectPath { return managerPath + "/job/" + dbus.ObjectPath(id) }

func unitPath(name string) dbus.ObjectPath {
	return managerPath + "/unit/" + dbus.ObjectPath(machine1.EscapeLabel(name))
}

// A fakePID1 answers as org.freedesktop.systemd1 and says what it is told to.
type fakePID1 struct {
	t    testing.TB
	conn *dbus.Conn

	mu         sync.Mutex
	subscribed int
	refuse     error // of Subscribe
	calls      []call
	fds        []os.FileInfo // of the descriptors that came with StartTransientUnit
}

type call struct {
	Member string
	Args   []any
}

// newPID1 starts a PID 1 that owns its name.
func newPID1(t testing.TB, b *dbustest.Bus) *fakePID1 {
	t.Helper()
	f := newUnnamedPID1(t, b)
	f.takeName()
	return f
}

func newUnnamedPID1(t testing.TB, b *dbustest.Bus) *fakePID1 {
	t.Helper()
	f := &fakePID1{t: t, conn: b.Dial()}
	methods := map[string]any{
		"Subscribe":          f.subscribe,
		"StartTransientUnit": f.startTransient,
		"StopUnit":           f.stop,
		"KillUnit":           f.kill,
		"KillUnitSubgroup":   f.killSubgroup,
		"UnrefUnit":          f.unref,
		"GetUnit":            f.getUnit,
	}
	if err := f.conn.ExportMethodTable(methods, managerPath, manager); err != nil {
		t.Fatal(err)
	}
	unknown := dbus.NewError("org.freedesktop.DBus.Error.UnknownObject", []any{"Unknown object."})
	for path, answer := range map[dbus.ObjectPath]struct {
		state any
		err   *dbus.Error
	}{
		unitPath("active.service"):  {"active", nil},
		unitPath("odd.service"):     {uint32(7), nil},
		unitPath("strange.service"): {"", unknown},
		jobPath("1"):                {"running", nil},
		jobPath("2"):                {"", unknown},
	} {
		get := map[string]any{"Get": func(_, _ string) (dbus.Variant, *dbus.Error) {
			return dbus.MakeVariant(answer.state), answer.err
		}}
		if err := f.conn.ExportMethodTable(get, path, properties); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fakePID1) takeName() {
	f.t.Helper()
	reply, err := f.conn.RequestName(systemd1, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		f.t.Fatalf("RequestName: %v, %v", reply, err)
	}
}

func (f *fakePID1) leave() {
	f.t.Helper()
	if _, err := f.conn.ReleaseName(systemd1); err != nil {
		f.t.Fatal(err)
	}
}

// say sends a signal of the manager's.
func (f *fakePID1) say(member string, args ...any) {
	f.t.Helper()
	if err := f.conn.Emit(managerPath, manager+"."+member, args...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakePID1) sayChanged(path dbus.ObjectPath) {
	f.t.Helper()
	if err := f.conn.Emit(path, properties+".PropertiesChanged",
		"org.freedesktop.systemd1.Unit", map[string]dbus.Variant{}, []string{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakePID1) subscribe() *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subscribed++
	if f.refuse != nil {
		return dbus.MakeFailedError(f.refuse)
	}
	return nil
}

func (f *fakePID1) subscriptions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.subscribed
}

// heard returns the calls so far.
func (f *fakePID1) heard() ([]call, []os.FileInfo) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls, f.fds
}

func (f *fakePID1) note(member string, args ...any) *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call{member, args})
	name, _ := args[0].(string)
	if kind, ok := strings.CutPrefix(name, "error."); ok {
		return dbus.NewError(systemd1+"."+kind, []any{"Unit " + name + " is in trouble."})
	}
	return nil
}

// startTransient ends the job before it replies, as PID 1 may.
func (f *fakePID1) startTransient(name, mode string, props []machine1.Property, aux []struct {
	Name  string
	Props []machine1.Property
}) (dbus.ObjectPath, *dbus.Error) {
	for _, p := range props {
		if fd, ok := p.Value.Value().(dbus.UnixFD); ok {
			file := os.NewFile(uintptr(fd), p.Name)
			info, err := file.Stat()
			if err != nil {
				f.t.Error(err)
			}
			file.Close()
			f.mu.Lock()
			f.fds = append(f.fds, info)
			f.mu.Unlock()
		}
	}
	if err := f.note("StartTransientUnit", name, mode, props, len(aux)); err != nil {
		return "", err
	}
	f.say("JobRemoved", uint32(1), jobPath("1"), name, "done")
	return jobPath("1"), nil
}

func (f *fakePID1) stop(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return jobPath("2"), f.note("StopUnit", name, mode)
}

func (f *fakePID1) kill(name, whom string, signal int32) *dbus.Error {
	return f.note("KillUnit", name, whom, signal)
}

func (f *fakePID1) killSubgroup(name, whom, subgroup string, signal int32) *dbus.Error {
	return f.note("KillUnitSubgroup", name, whom, subgroup, signal)
}

func (f *fakePID1) unref(name string) *dbus.Error { return f.note("UnrefUnit", name) }

func (f *fakePID1) getUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	return unitPath(name), f.note("GetUnit", name)
}

// A listener is a Manager with its events.
type listener struct {
	*unit.Manager
	t      testing.TB
	name   string // unique
	events chan unit.Event
	ended  chan error
	cancel context.CancelFunc
}

// connect returns a Manager that does not run yet.
func connect(t testing.TB, b *dbustest.Bus) *listener {
	t.Helper()
	conn := b.Dial()
	m, err := unit.Connect(t.Context(), conn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Manager: m, t: t, name: conn.Names()[0], events: make(chan unit.Event, 100_000), ended: make(chan error, 1)}
	m.Watch(func(e unit.Event) { l.events <- e })
	return l
}

func (l *listener) start() *listener {
	ctx, cancel := context.WithCancel(l.t.Context())
	l.cancel = cancel
	go func() { l.ended <- l.Run(ctx) }()
	l.t.Cleanup(cancel)
	return l
}

func (l *listener) next() unit.Event {
	l.t.Helper()
	select {
	case e := <-l.events:
		return e
	case <-time.After(patience):
		l.t.Fatal("nothing was said")
		return unit.Event{}
	}
}

func (l *listener) end() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(patience):
		l.t.Fatal("Run did not end")
		return nil
	}
}

func sameFile(t testing.TB, info os.FileInfo, file *os.File) bool {
	t.Helper()
	own, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(info, own)
}
