package launch

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// planner is the Launcher, once it can plan.
type planner interface {
	Plan(ctx context.Context, name string, o machd.StartOptions) (Plan, error)
}

// makePlan plans with Plan where it is there, and until then the plainest start
// there is.
func (l *Launcher) makePlan(ctx context.Context, name string, o machd.StartOptions) (Plan, error) {
	if p, ok := any(l).(planner); ok {
		return p.Plan(ctx, name, o)
	}
	type command struct {
		Path   string
		Args   []string
		Ignore bool
	}
	prop := func(name string, value any) machine1.Property {
		return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	type statuses struct{ Exits, Signals []int32 }
	return Plan{
		Name: name, Unit: transientUnit(name), Boots: true, Options: o,
		Properties: []machine1.Property{
			prop("Description", "Container "+name), prop("Slice", "machine.slice"), prop("Type", "notify"),
			prop("KillMode", "mixed"), prop("Delegate", true), prop("CollectMode", "inactive-or-failed"), prop("AddRef", true),
			prop("RestartForceExitStatus", statuses{[]int32{133}, []int32{}}), prop("SuccessExitStatus", statuses{[]int32{133}, []int32{}}),
			prop("ExecStart", []command{{"/usr/bin/systemd-nspawn", []string{"systemd-nspawn", "--quiet", "--keep-unit", "--boot",
				"--link-journal=try-guest", "--network-veth", "-U", "--settings=override", "--machine=" + name}, false}}),
		},
	}, nil
}
