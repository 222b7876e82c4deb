package varlinkapi

import (
	"context"
	"maps"
	"slices"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

// Planner tells what starts would do, and limits machines; *launch.Launcher does.
type Planner interface {
	PlanStart(ctx context.Context, name string, o machd.StartOptions) (unit string, changes []machd.Change, err error)
	SetLimits(ctx context.Context, m machine.Machine, o machd.LimitOptions) error
}

var ownChange = varlink.Struct("Change",
	varlink.Field{Name: "kind", Type: varlink.Enum("ChangeKind", "property", "argument", "file", "mount", "image", "link", "address", "port", "rule")},
	varlink.Field{Name: "name", Doc: "Of the property or link, or the path", Type: varlink.String},
	varlink.Field{Name: "from", Doc: "Left out if there is none", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "to", Doc: "Left out if it goes away", Type: varlink.String, Nullable: true})

// launchMethods start machines and set their limits.
var launchMethods = slices.Concat(startMethods, []varlink.Method[*API]{
	{
		Name: "PlanStart",
		Doc:  "Tells what Start would do, by what is different from the machine that runs, or from one that the host's template starts",
		In:   onNewMachine(startOptions...),
		Out: varlink.Fields{
			{Name: "unit", Doc: "That would carry it", Type: varlink.String},
			{Name: "changes", Type: varlink.Array(ownChange)},
		},
		Access: machd.ActionStart,
		Func:   ownPlan,
	},
	{
		Name: "SetLimits",
		Doc:  "Limits what a machine that runs takes of the host: sets all that is given, or nothing",
		In: onMachine(
			option("memory", "Bytes with a suffix, a percentage, or infinity", varlink.String),
			option("cpus", "How many processors' time, or infinity", varlink.String),
			option("tasks", "How many processes and threads, a percentage, or infinity", varlink.String),
			option("ioWeight", "1 to 10000, 100 being everybody's", varlink.String),
			option("save", "For later starts, too", varlink.Bool)),
		Access: machd.ActionSetLimits,
		Func:   ownSetLimits,
	},
})

type planned struct {
	Unit    string          `json:"unit"`
	Changes []plannedChange `json:"changes"`
}

type plannedChange struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

func ownPlan(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	name := c.In.String("name")
	o, err := startOptionsOf(c)
	if err != nil {
		return nil, err
	}
	if err := a.ask(ctx, c, access.OwnPlan, access.StartDetails(name, o)); err != nil {
		return nil, err
	}
	unit, changes, err := a.Launcher.PlanStart(ctx, name, o)
	if err != nil {
		return nil, err
	}
	reply := planned{unit, []plannedChange{}}
	for _, c := range changes {
		reply.Changes = append(reply.Changes, plannedChange(c))
	}
	return reply, nil
}

func ownSetLimits(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	o := machd.LimitOptions{
		Limits: machd.Limits{
			Memory: c.In.String("memory"), CPUs: c.In.String("cpus"), Tasks: c.In.String("tasks"), IOWeight: c.In.String("ioWeight"),
		},
		Save: c.In.Bool("save"),
	}
	details := access.LimitDetails(o)
	maps.Copy(details, map[string]string{"machine": m.Name})
	if m, err = a.authorize(ctx, c, m, access.OwnSetLimits, details); err != nil {
		return nil, err
	}
	return nil, a.Launcher.SetLimits(ctx, m, o)
}
