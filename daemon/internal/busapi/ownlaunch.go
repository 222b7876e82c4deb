package busapi

import (
	"context"
	"slices"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
)

// Planner tells what starts would do, and limits machines; *launch.Launcher does.
type Planner interface {
	PlanStart(ctx context.Context, name string, o machd.StartOptions) (unit string, changes []machd.Change, err error)
	SetLimits(ctx context.Context, m machine.Machine, o machd.LimitOptions) error
}

// launchRows start machines and set their limits.
var launchRows = slices.Concat(startRows, []vtable.Method{
	{
		Name: "PlanStart",
		Doc:  "Tells what StartMachine with these options would do, and does nothing of it: the unit, and each change with its kind (`property`, `argument`, `file`, `mount`, `image`, and of the network `link`, `address`, `port`, `rule`), its name, what there is and what there would be.",
		In:   "name options", Out: "unit changes", Access: machd.ActionStart, Slow: true, Func: ownPlan,
	},
	{
		Name: "SetLimits",
		Doc:  "Limits what a machine that runs can take of the host: all that the options say, or nothing. A limit that is not named stays.",
		In:   "machine options", Access: machd.ActionSetLimits, Slow: true, Func: ofMachine(ownSetLimits),
	},
})

// launchMachineRows is the same on a machine's object.
var launchMachineRows = []vtable.Method{
	{
		Name: "SetLimits",
		Doc:  "As the Manager's.",
		In:   "options", Access: machd.ActionSetLimits, Slow: true, Func: ownSetLimits,
	},
}

// ownPlan tells what ownStart would do. The files that it looks at are not
// everybody's to see.
func ownPlan(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (unit string, changes []machd.Change, err error) {
	parsed, err := machd.ParseStartOptions(opts)
	if err != nil {
		return "", nil, err
	}
	if err := a.ask(ctx, c, access.OwnPlan, access.StartDetails(name, parsed)); err != nil {
		return "", nil, err
	}
	return a.launcher.PlanStart(ctx, name, parsed)
}

func ownSetLimits(ctx context.Context, c *vtable.Call, o machineObject, opts options) error {
	parsed, err := machd.ParseLimitOptions(opts)
	if err != nil {
		return err
	}
	m, err := o.ask(ctx, c, access.OwnSetLimits, access.LimitDetails(parsed))
	if err != nil {
		return err
	}
	return o.api.launcher.SetLimits(ctx, m, parsed)
}
