package machd

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// A table ties the name of each option on the bus to the pointer to its value.
// Besides those that D-Bus has, a value may be a time.Duration, which goes over
// the bus in microseconds, or a word.
type table map[string]any

// A word is a string that only some values make sense for.
type word interface{ valid() bool }

// variants returns the values that are not zero.
func (t table) variants() map[string]dbus.Variant {
	options := map[string]dbus.Variant{}
	for name, pointer := range t {
		value := reflect.ValueOf(pointer).Elem()
		switch {
		case value.IsZero():
		case value.Type() == reflect.TypeFor[time.Duration]():
			options[name] = dbus.MakeVariant(uint64(value.Interface().(time.Duration).Microseconds()))
		case value.Kind() == reflect.String:
			options[name] = dbus.MakeVariant(value.String())
		default:
			options[name] = dbus.MakeVariant(value.Interface())
		}
	}
	return options
}

// parse stores options that came over the bus, in the order of their names so
// that of several errors it is always the same that is told. What t does not
// know is machine1.ErrInvalidArgs: an option that nobody acts on must not be
// taken for one that was heeded.
func (t table) parse(options map[string]dbus.Variant) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		pointer, ok := t[name]
		if !ok {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Unknown option '%s'", name)
		}
		if !store(pointer, options[name].Value()) {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid value of option '%s': %s", name, options[name])
		}
	}
	return nil
}

// store reports whether value is one that pointer can take.
func store(pointer, value any) bool {
	to, from := reflect.ValueOf(pointer).Elem(), reflect.ValueOf(value)
	if d, ok := pointer.(*time.Duration); ok {
		usec, ok := value.(uint64)
		*d = time.Duration(usec) * time.Microsecond
		return ok && usec <= uint64(maxDuration/time.Microsecond)
	}
	if to.Kind() == reflect.String && from.Kind() == reflect.String && from.Type() == reflect.TypeFor[string]() {
		to.SetString(from.String())
		w, limited := pointer.(word)
		return !limited || w.valid()
	}
	if !from.IsValid() || from.Type() != to.Type() {
		return false
	}
	to.Set(from)
	return true
}

const maxDuration = time.Duration(1<<63 - 1)
