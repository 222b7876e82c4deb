package inside_test

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/godbus/dbus/v5"
)

// A fakeSystemd stands for the service manager of a machine, which needs a
// booted machine. It remembers what it was asked.
type fakeSystemd struct {
	mu   sync.Mutex
	seen []call
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
	s := &fakeSystemd{}
	err = conn.Export(s, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
	if err != nil {
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
	if c.Values["User"] == "refused" {
		return "", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"No \x1b[31mway."})
	}
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
