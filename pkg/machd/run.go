package machd

import (
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// RunOptions are what running a command as a machine of its own can be told: all
// that RunTakes of a start's, and whether there is a terminal. The machine writes
// to a root that is thrown away.
type RunOptions struct {
	StartOptions
	Terminal bool // terminal: on a new terminal instead of given files
}

func (o *RunOptions) table() table {
	t := o.StartOptions.table()
	t["terminal"] = &o.Terminal
	return t
}

// notOfRun are the options of a start that a run has not, and why.
var notOfRun = map[string]string{
	"vm":   "asks for a virtual machine, which runs no command",
	"save": "is for later starts, of which a machine that is thrown away has none",
	"wait": "is for starts: a run is answered when it begins, and its session tells the rest",
}

// RunTakes reports whether a run has the option of a start that is called so.
func RunTakes(option string) bool {
	_, not := notOfRun[option]
	return !not
}

// Variants returns o as it goes over the bus.
func (o RunOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseRunOptions reads options that came over the bus, as ParseBindOptions
// does. Wait is zero.
func ParseRunOptions(options map[string]dbus.Variant) (o RunOptions, err error) {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if !RunTakes(name) {
			return o, machine1.Errorf(machine1.ErrInvalidArgs, "Option '%s' %s", name, notOfRun[name])
		}
	}
	err = o.table().parse(options)
	return o, err
}
