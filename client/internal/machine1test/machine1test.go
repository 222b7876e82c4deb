// Package machine1test is a world for tests of clients: a bus of its own, and
// on it the two daemons a client talks to, played with godbus. It knows what
// the real ones answer, and nothing about any client. Only tests import it.
package machine1test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A World is one bus, what its machined and its PID 1 know, and every call
// they got. Its methods may be used from several goroutines.
type World struct {
	Address string // of the bus

	bus   *dbustest.Bus
	ended chan struct{}

	mu       sync.Mutex
	machines map[string]Machine
	images   []Image
	units    map[string]Unit
	usage    map[string][]machd.Usage // answers to come, by machine
	networks map[string]machd.NetworkStatus
	ports    []machd.PortStatus
	findings []machd.Finding

	systemdVersion string // "" is told to nobody

	subscribers map[dbus.Sender]bool // of PID 1
	jobs        uint32
	calls       []string
	called      *sync.Cond // on mu, when calls has grown
	failures    map[string]*dbus.Error
	hung        map[string]bool
	overviews   bool // machd answers ListOverview
	stock       bool // machined is systemd's, which has nothing of machd's own
	machined    *dbus.Conn
	systemd     *dbus.Conn
	importd     *importd
	enabled     []string   // unit files
	sessions    []*os.File // machd's ends of commands
}

// New starts a bus with both daemons on it, which end with the test. The
// host's own machine is there.
func New(t testing.TB) *World {
	t.Helper()
	b := dbustest.New(t)
	w := &World{
		Address:  b.Address,
		bus:      b,
		ended:    make(chan struct{}),
		machines: map[string]Machine{machine1.Host: host()},
		units:    map[string]Unit{},
		usage:    map[string][]machd.Usage{},
		networks: map[string]machd.NetworkStatus{},

		systemdVersion: "257.13-1",

		subscribers: map[dbus.Sender]bool{},
		failures:    map[string]*dbus.Error{},
		hung:        map[string]bool{},
	}
	w.called = sync.NewCond(&w.mu)
	t.Cleanup(w.close)
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	if err := w.StartSystemd(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *World) close() {
	close(w.ended)
	w.StopMachined()
	w.StopSystemd()
	w.StopImportd()
}

// StopBus ends the bus under everybody's feet.
func (w *World) StopBus() { w.bus.Stop() }

// StartMachined puts a machined on the bus that knows the world's machines.
func (w *World) StartMachined() error {
	conn, err := dbus.Connect(w.Address)
	if err != nil {
		return err
	}
	if err := w.exportMachined(conn); err != nil {
		return err
	}
	w.mu.Lock()
	w.machined = conn
	w.mu.Unlock()
	return own(conn, machine1.BusName)
}

// ReplaceMachined lets a new machined take over, as a restart does, and ends
// the old one with the calls that it has not answered.
func (w *World) ReplaceMachined() error {
	w.mu.Lock()
	old := w.machined
	w.hung = map[string]bool{}
	w.mu.Unlock()
	if err := w.StartMachined(); err != nil {
		return err
	}
	return old.Close()
}

// BeStock makes machined systemd-machined, or machd again.
func (w *World) BeStock(stock bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stock = stock
}

// StopMachined takes machined off the bus, without a signal to anybody.
func (w *World) StopMachined() {
	w.mu.Lock()
	conn := w.machined
	w.machined = nil
	w.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// own takes the name from a predecessor that the bus still believes in.
func own(conn *dbus.Conn, name string) error {
	reply, err := conn.RequestName(name, dbus.NameFlagAllowReplacement|dbus.NameFlagReplaceExisting)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = fmt.Errorf("%s is owned by somebody else", name)
	}
	return err
}

// Fail makes every call of member end with the error, until Fail is called
// with a nil one. A member may be followed by a blank and its first argument.
func (w *World) Fail(member string, err *dbus.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.failures, member)
		return
	}
	w.failures[member] = err
}

// Hang makes calls of member, named as for Fail, go without an answer.
func (w *World) Hang(member string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung[member] = true
}

// Calls returns the calls so far, one line each: member, arguments, and
// "interactive" if the caller allows to be asked for a password. How a client
// finds out who the daemon is, is left out.
func (w *World) Calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.calls), func(line string) bool { return strings.HasPrefix(line, "Introspect") })
}

// AwaitCall waits until a call was made that begins with prefix.
func (w *World) AwaitCall(prefix string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	called := func(line string) bool { return strings.HasPrefix(line, prefix) }
	for !slices.ContainsFunc(w.calls, called) {
		w.called.Wait()
	}
}

// A descriptor is not the same number each time.
var descriptor = regexp.MustCompile(`@h \d+`)

// enter records a call and decides whether it fails or never returns.
func (w *World) enter(msg dbus.Message, args ...any) *dbus.Error {
	member, _ := msg.Headers[dbus.FieldMember].Value().(string)
	iface, _ := msg.Headers[dbus.FieldInterface].Value().(string)
	line := member
	keys := []string{member}
	for i, arg := range args {
		line += " " + strings.TrimSpace(fmt.Sprint(arg))
		if i == 0 {
			keys = append(keys, fmt.Sprint(member, " ", arg))
		}
	}
	if msg.Flags&dbus.FlagAllowInteractiveAuthorization != 0 {
		line += " interactive"
	}
	line = descriptor.ReplaceAllString(line, "@h")

	w.mu.Lock()
	if w.stock && iface == machd.ManagerInterface && w.failures[member] == nil {
		w.mu.Unlock()
		return Error("org.freedesktop.DBus.Error.UnknownMethod", "Unknown method %s or interface %s.", member, iface)
	}
	w.calls = append(w.calls, line)
	w.called.Broadcast()
	hang := false
	var failure *dbus.Error
	for _, key := range keys {
		hang = hang || w.hung[key]
		if err := w.failures[key]; err != nil {
			failure = err
		}
	}
	w.mu.Unlock()
	if hang {
		<-w.ended
	}
	return failure
}

// Error returns an error as a daemon sends it.
func Error(name, format string, args ...any) *dbus.Error {
	return dbus.NewError(name, []any{fmt.Sprintf(format, args...)})
}
