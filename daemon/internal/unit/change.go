package unit

import (
	"encoding/hex"
	"strings"

	"github.com/godbus/dbus/v5"
)

// A Change is what a signal tells of how a unit fares. PID 1 sends two of them
// together: first that of the unit's type, then that of every unit. A unit that
// is forgotten with its end has no other way to tell how it ended.
type Change struct {
	// Of every unit; "" in the other signal.
	State      string // ActiveState
	Invocation string // hexadecimal, "" if the unit has not been started

	// Of a service or scope; Result is "" in the other signal.
	Result string // success, exit-code, signal, core-dump, timeout, oom-kill, …
	Code   int32  // si_code of the service's main process once it has ended, otherwise 0
	Status int32  // its exit status, or signal
}

const scopeInterface = "org.freedesktop.systemd1.Scope"

// changeOf reads PropertiesChanged.
func changeOf(s *dbus.Signal) (c Change) {
	if len(s.Body) < 2 {
		return c
	}
	iface, _ := s.Body[0].(string)
	changed, _ := s.Body[1].(map[string]dbus.Variant)
	switch iface {
	case unitInterface:
		c.State = textOf(changed["ActiveState"])
		id, _ := changed["InvocationID"].Value().([]byte)
		c.Invocation = hex.EncodeToString(id)
	case serviceInterface, scopeInterface:
		c.Result = textOf(changed["Result"])
		c.Code, _ = changed["ExecMainCode"].Value().(int32)
		c.Status, _ = changed["ExecMainStatus"].Value().(int32)
	}
	return c
}

// textOf copies a text that may be kept: as godbus gives it, it is a part of
// the whole message.
func textOf(v dbus.Variant) string {
	text, _ := v.Value().(string)
	return strings.Clone(text)
}
