package machd

import (
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// An Ownership says whom copied files belong to.
type Ownership string

// The ownerships. A machine with a user namespace has IDs of its own.
const (
	// OwnershipMap translates each owner between the machine's IDs and the
	// host's. It is the default.
	OwnershipMap Ownership = "map"
	// OwnershipFlat gives everything to root of the side that is copied to if
	// the machine has a user namespace, as the stock interface does.
	OwnershipFlat Ownership = "flat"
)

// BindOptions are what a bind mount can be told.
type BindOptions struct {
	ReadOnly bool // read_only
	MakeDir  bool // mkdir: make what is missing of the destination
}

// CopyOptions are what a copy can be told. The zero Ownership is OwnershipMap.
type CopyOptions struct {
	Replace   bool      // replace: overwrite what is there
	Ownership Ownership // ownership
}

// RemoveOptions are what the removal of an image can be told.
type RemoveOptions struct {
	Settings bool // settings: remove the settings files below /etc too
}

// Variants returns o as it goes over the bus.
func (o BindOptions) Variants() map[string]dbus.Variant {
	return map[string]dbus.Variant{"read_only": dbus.MakeVariant(o.ReadOnly), "mkdir": dbus.MakeVariant(o.MakeDir)}
}

// Variants returns o as it goes over the bus.
func (o CopyOptions) Variants() map[string]dbus.Variant {
	if o.Ownership == "" {
		o.Ownership = OwnershipMap
	}
	return map[string]dbus.Variant{"replace": dbus.MakeVariant(o.Replace), "ownership": dbus.MakeVariant(string(o.Ownership))}
}

// Variants returns o as it goes over the bus.
func (o RemoveOptions) Variants() map[string]dbus.Variant {
	return map[string]dbus.Variant{"settings": dbus.MakeVariant(o.Settings)}
}

// ParseBindOptions reads options that came over the bus. What it does not know
// is machine1.ErrInvalidArgs: an option that nobody acts on must not be taken
// for one that was heeded.
func ParseBindOptions(options map[string]dbus.Variant) (o BindOptions, err error) {
	err = parse(options, map[string]func(any) bool{"read_only": flag(&o.ReadOnly), "mkdir": flag(&o.MakeDir)})
	return o, err
}

// ParseCopyOptions reads options that came over the bus, as ParseBindOptions
// does. The Ownership is never zero.
func ParseCopyOptions(options map[string]dbus.Variant) (o CopyOptions, err error) {
	o.Ownership = OwnershipMap
	err = parse(options, map[string]func(any) bool{"replace": flag(&o.Replace), "ownership": o.Ownership.set})
	return o, err
}

// ParseRemoveOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseRemoveOptions(options map[string]dbus.Variant) (o RemoveOptions, err error) {
	err = parse(options, map[string]func(any) bool{"settings": flag(&o.Settings)})
	return o, err
}

// ParseNoOptions is for calls that have room for options but know none.
func ParseNoOptions(options map[string]dbus.Variant) error { return parse(options, nil) }

// ParseOwnership returns the ownership of that name.
func ParseOwnership(name string) (o Ownership, ok bool) {
	ok = o.set(name)
	return o, ok
}

func (o *Ownership) set(value any) bool {
	name, _ := value.(string)
	switch Ownership(name) {
	case OwnershipMap, OwnershipFlat:
		*o = Ownership(name)
		return true
	}
	return false
}

func flag(to *bool) func(any) bool {
	return func(value any) (ok bool) {
		*to, ok = value.(bool)
		return ok
	}
}

// parse gives each option to the function that sets it, in the order of the
// names so that of several errors it is always the same that is told.
func parse(options map[string]dbus.Variant, known map[string]func(any) bool) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		set, ok := known[name]
		if !ok {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Unknown option '%s'", name)
		}
		if !set(options[name].Value()) {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid value of option '%s': %s", name, options[name])
		}
	}
	return nil
}
