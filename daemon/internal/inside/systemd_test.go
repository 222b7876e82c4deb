package inside_test

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// A fakeSystemd stands for the service manager of a machine, which needs a
// booted machine. It remembers what it was asked.
type fakeSystemd struct {
	conn *dbus.Conn
	mu   sync.Mutex
	seen []call

	lateFails atomic.Bool  // the unit of user "late"
	state     atomic.Value // the system's, a string
}

// fates are what becomes of the units of some users.
var fates = map[string]struct {
	status int32  // ExecMainStatus
	active uint64 // ActiveEnterTimestampMonotonic
}{
	"unknown": {217, 0},
	"unable":  {203, 0},
	"locked":  {224, 0},
	"crashed": {11, 0},
	"quick":   {217, 1}, // the program's own status
	"late":    {0, 0},
}

type call struct {
	Method string
	Unit   string
	Mode   string
	Types  map[string]string // of the properties
	Values map[string]string
}

func newFakeSystemd(address string) (*fakeSystemd, error) {
	conn, err := dbus.Connect(address)
	if err != nil {
		return nil, err
	}
	s := &fakeSystemd{conn: conn}
	err = conn.Export(s, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
	if err != nil {
		return nil, err
	}
	s.state.Store("starting")
	get := func(_, _ string) (dbus.Variant, *dbus.Error) { return dbus.MakeVariant(s.state.Load()), nil }
	if err := conn.ExportMethodTable(map[string]any{"Get": get}, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties"); err != nil {
		return nil, err
	}
	_, err = conn.RequestName("org.freedesktop.systemd1", dbus.NameFlagDoNotQueue)
	return s, err
}

func (s *fakeSystemd) StartUnit(unit, mode string) (dbus.ObjectPath, *dbus.Error) {
	s.note(call{Method: "StartUnit", Unit: unit, Mode: mode})
	return "/org/freedesktop/systemd1/job/1", nil
}

type property struct {
	Name  string
	Value dbus.Variant
}

type auxiliary struct {
	Name       string
	Properties []property
}

func (s *fakeSystemd) StartTransientUnit(unit, mode string, list []property, _ []auxiliary) (dbus.ObjectPath, *dbus.Error) {
	c := call{Method: "StartTransientUnit", Unit: unit, Mode: mode, Types: map[string]string{}, Values: map[string]string{}}
	for _, p := range list {
		c.Types[p.Name] = p.Value.Signature().String()
		if fd, ok := p.Value.Value().(dbus.UnixFD); ok {
			f := os.NewFile(uintptr(fd), p.Name)
			f.WriteString(p.Name + "\n")
			f.Close()
			continue
		}
		c.Values[p.Name] = fmt.Sprintf("%v", p.Value.Value())
	}
	s.note(c)
	user := c.Values["User"]
	fate, told := fates[user]
	if !told {
		fate.active = 1
	}
	if user == "refused" {
		return "", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"No \x1b[31mway."})
	}
	if user == "oldtimer" && c.Values["Type"] == "exec" {
		return "", dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"Invalid Type= setting: exec"})
	}
	get := func(_, name string) (dbus.Variant, *dbus.Error) {
		if user == "late" && s.lateFails.Load() {
			fate.status = 217
		}
		if name == "ExecMainStatus" {
			return dbus.MakeVariant(fate.status), nil
		}
		return dbus.MakeVariant(fate.active), nil
	}
	path := dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + machine1.EscapeLabel(unit))
	s.conn.ExportMethodTable(map[string]any{"Get": get}, path, "org.freedesktop.DBus.Properties")
	return "/org/freedesktop/systemd1/job/2", nil
}

func (s *fakeSystemd) note(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, c)
}

func (s *fakeSystemd) calls() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(s.seen)
	return string(text), err
}
