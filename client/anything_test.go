package client_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A member is one that the daemon serves, with the types that go in and those
// that come out.
type member struct{ kind, name, in, out string }

var memberLine = regexp.MustCompile(`^(\w+) (\S+) \((\S*)\) \((\S*)\)\n$`)

// readMembers returns what the daemon serves of a kind.
func readMembers(t *testing.T, kind string) (members []member) {
	t.Helper()
	text, err := os.ReadFile("testdata/members.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		part := memberLine.FindStringSubmatch(line)
		if part == nil {
			t.Fatalf("bad line %q", line)
		}
		if part[1] == kind {
			members = append(members, member{part[1], part[2], part[3], part[4]})
		}
	}
	return members
}

// anything is a daemon that takes each call that a real one takes, and answers
// with values of the right types and of no meaning.
type anything struct {
	client *client.Client
	conn   *dbus.Conn
	null   dbus.UnixFD // what it sends for each descriptor
	own    bool        // it serves what machd does beyond machine1

	methods map[string]member

	mu         sync.Mutex
	calls      map[string]bool
	properties map[string]dbus.Variant
	listed     func()        // called when the machines were asked for
	held       chan struct{} // what a reply waits for to be closed, or nil
}

func newAnything(t *testing.T, own bool) *anything {
	t.Helper()
	a := &anything{own: own, methods: map[string]member{}, calls: map[string]bool{}}
	for _, m := range readMembers(t, "method") {
		a.methods[m.name] = m
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	a.null = dbus.UnixFD(null.Fd())
	bus := dbustest.New(t)
	if a.conn, err = dbus.Connect(bus.Address, dbus.WithHandler(a)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.conn.Close() })
	if _, err := a.conn.RequestName(machine1.BusName, 0); err != nil {
		t.Fatal(err)
	}
	if a.client, err = client.Dial(t.Context(), bus.Address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.client.Close() })
	return a
}

// set says which properties everything has, and what is to be done when the
// machines are asked for.
func (a *anything) set(properties map[string]dbus.Variant, listed func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.properties, a.listed = properties, listed
}

// hold lets replies wait until release is called.
func (a *anything) hold() (release func()) {
	held := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = held
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.held = nil
		close(held)
	}
}

// forget forgets the calls so far.
func (a *anything) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.calls)
}

// called reports whether a method was called since the last check or forget.
func (a *anything) called(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[name]
}

// check wants do to call m and to take the answer.
func (a *anything) check(t *testing.T, m member, do doer) {
	t.Helper()
	a.forget()
	err := do(t.Context(), a.client)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || !a.calls[m.name] {
		t.Errorf("the call for %s%s made the calls %v, and ended with %v", m.name, m.in, a.calls, err)
	}
}

// The objects, interfaces and methods are all one.

func (a *anything) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return a, true }

func (a *anything) LookupInterface(name string) (dbus.Interface, bool) {
	return anyInterface{a, name}, a.own || !strings.HasPrefix(name, "org.machd.")
}

type anyInterface struct {
	*anything
	name string
}

func (i anyInterface) LookupMethod(name string) (dbus.Method, bool) {
	full := i.name + "." + name
	switch full {
	case "org.freedesktop.DBus.Properties.GetAll":
		return anyMethod{i.anything, member{name: full, in: "s", out: "a{sv}"}}, true
	case "org.freedesktop.DBus.Introspectable.Introspect":
		return anyMethod{i.anything, member{name: full, out: "s"}}, true
	}
	m, ok := i.methods[full]
	return anyMethod{i.anything, m}, ok
}

type anyMethod struct {
	*anything
	member
}

// DecodeArguments takes arguments of the right types.
func (m anyMethod) DecodeArguments(_ *dbus.Conn, _ string, msg *dbus.Message, _ []any) ([]any, error) {
	got, _ := msg.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	if got.String() != m.in {
		return nil, dbus.MakeFailedError(fmt.Errorf("%s takes (%s), and got (%s)", m.name, m.in, got))
	}
	return msg.Body, nil
}

func (m anyMethod) Call(args ...any) ([]any, error) {
	closeFDs(args)
	m.mu.Lock()
	m.calls[m.name] = true
	properties, listed, held := m.properties, m.listed, m.held
	m.mu.Unlock()
	if held != nil {
		<-held
	}
	switch m.member.name {
	case "org.freedesktop.DBus.Properties.GetAll":
		return []any{properties}, nil
	case "org.freedesktop.DBus.Introspectable.Introspect":
		return []any{fmt.Sprintf("own %v: %q", m.own, map[bool]string{true: machd.ManagerInterface}[m.own])}, nil
	case machine1.ManagerInterface + ".ListMachines":
		if listed != nil {
			defer listed()
		}
	}
	var out []any
	for rest := m.out; rest != ""; {
		var kind reflect.Type
		kind, rest = cutType(rest)
		switch kind {
		case reflect.TypeFor[dbus.UnixFD]():
			out = append(out, m.null)
		case reflect.TypeFor[dbus.ObjectPath]():
			out = append(out, machine1.MachinePath("m"))
		default:
			out = append(out, reflect.MakeSlice(reflect.SliceOf(kind), 1, 1).Index(0).Interface())
		}
	}
	return out, nil
}

func (m anyMethod) NumArguments() int     { return 0 }
func (m anyMethod) NumReturns() int       { return 0 }
func (m anyMethod) ArgumentValue(int) any { return nil }
func (m anyMethod) ReturnValue(int) any   { return nil }
