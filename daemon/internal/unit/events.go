package unit

import (
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// An EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	// JobRemoved: a job is over; Unit, Job and Result are set.
	JobRemoved EventKind = iota
	// UnitRemoved: PID 1 has forgotten Unit.
	UnitRemoved
	// UnitChanged: a property of Unit, such as its state, is another one.
	UnitChanged
	// Reloaded: signals may have been missed, so every unit may have changed.
	Reloaded
)

// An Event is something that happened to a unit.
type Event struct {
	Kind   EventKind
	Unit   string
	Job    dbus.ObjectPath
	Result string // done, canceled, timeout, failed, dependency, skipped, …

	Change Change // of UnitChanged
}

const unitPaths = managerPath + "/unit"

// UnitFromPath returns the name of the unit whose object is at path.
func UnitFromPath(path dbus.ObjectPath) (string, bool) {
	label, ok := strings.CutPrefix(string(path), string(unitPaths)+"/")
	if !ok || label == "" || strings.Contains(label, "/") {
		return "", false
	}
	name := machine1.UnescapeLabel(label)
	return name, name != ""
}

// eventOf understands the signals that are about one unit.
func eventOf(s *dbus.Signal) (e Event, ok bool) {
	switch s.Name {
	case managerInterface + ".JobRemoved":
		e.Kind = JobRemoved
		ok = read(s, nil, &e.Job, &e.Unit, &e.Result)
	case managerInterface + ".UnitRemoved":
		e.Kind = UnitRemoved
		ok = read(s, &e.Unit)
	case propsInterface + ".PropertiesChanged":
		e.Kind = UnitChanged
		e.Unit, ok = UnitFromPath(s.Path)
		e.Change = changeOf(s)
	}
	return e, ok
}

// read stores the first arguments of a signal, unless one is of another type;
// nil passes one over. Store of godbus would convert.
func read(s *dbus.Signal, into ...any) bool {
	if len(s.Body) < len(into) {
		return false
	}
	for i, to := range into {
		ok := true
		switch to := to.(type) {
		case *string:
			*to, ok = s.Body[i].(string)
		case *bool:
			*to, ok = s.Body[i].(bool)
		case *dbus.ObjectPath:
			*to, ok = s.Body[i].(dbus.ObjectPath)
		}
		if !ok {
			return false
		}
	}
	return true
}
