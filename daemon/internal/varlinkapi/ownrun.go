package varlinkapi

import (
	"context"
	"os"
	"slices"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

// Runner starts machines that end with their caller; *launch.Launcher does.
type Runner interface {
	StartRun(ctx context.Context, name string, o machd.RunOptions, stdio []*os.File) (launch.Running, error)
}

// runMethods run a command as a machine.
var runMethods = []varlink.Method[*API]{
	{
		Name: "Run",
		Doc: "Starts a machine whose root is thrown away, for one command or, without one, its init. Its streams, its session and " +
			"its outcome are as those of 'Exec'; the socket is closed when nothing of the machine is left",
		In:     onNewMachine(append(ofRun(startOptions), option("terminal", "On a new terminal", varlink.Bool))...),
		Out:    execMethods[0].Out,
		Access: machd.ActionStart,
		Func:   ownRun,
	},
}

// ofRun returns the options that a run has, too.
func ofRun(options varlink.Fields) varlink.Fields {
	return slices.DeleteFunc(slices.Clone(options), func(f varlink.Field) bool { return !machd.RunTakes(onBus(f.Name)) })
}

func ownRun(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	name := c.In.String("name")
	o, err := startOptionsOf(c)
	if err != nil {
		return nil, refusal(err)
	}
	options := machd.RunOptions{StartOptions: o, Terminal: c.In.Bool("terminal")}
	if err := a.ask(ctx, c, access.OwnRun, access.StartDetails(name, o)); err != nil {
		return nil, err
	}
	var ours, theirs []*os.File // ends of the pipes
	defer func() { closeFiles(append(ours, theirs...)) }()
	if !options.Terminal {
		if ours, theirs, err = pipes(); err != nil {
			return nil, err
		}
	}
	r, err := a.Launcher.StartRun(ctx, name, options, theirs)
	if err != nil {
		return nil, refusal(err)
	}
	defer r.Close()
	return sendExecution(c, execution.Started{Socket: r.Session, Terminal: r.Terminal, Unit: r.Unit}, ours)
}
