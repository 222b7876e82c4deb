package machd

import "github.com/godbus/dbus/v5"

// RunOptions are what running a command as a machine of its own can be told. The
// machine writes to a root that is thrown away.
type RunOptions struct {
	StartOptions
	Terminal bool // terminal: on a new terminal instead of given files
}

func (o *RunOptions) table() table {
	t := o.StartOptions.table()
	t["terminal"] = &o.Terminal
	return t
}

// Variants returns o as it goes over the bus.
func (o RunOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseRunOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseRunOptions(options map[string]dbus.Variant) (o RunOptions, err error) {
	o.Wait = WaitReady
	err = o.table().parse(options)
	return o, err
}
