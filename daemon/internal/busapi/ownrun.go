package busapi

import (
	"context"
	"os"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Runner starts machines that end with their caller; *launch.Launcher does.
type Runner interface {
	StartRun(ctx context.Context, name string, o machd.RunOptions, stdio []*os.File) (launch.Running, error)
}

var runRows = []vtable.Method{
	{
		Name: "RunMachine",
		Doc:  "Starts a machine that is there for one command, and holds it by a session as Exec does: see Sessions. The machine is removed when the command has ended, or nobody holds the session any more.",
		In:   "name stdio options", Out: "session terminal unit", Access: machd.ActionStart, Slow: true, Func: ownRun,
	},
}

// ownRun answers when the unit is being started. The session is like that of a
// command in a machine, and is closed when nothing of the machine is left.
func ownRun(ctx context.Context, c *vtable.Call, a *API, name string, stdio []machd.Descriptor, opts options) (
	socket dbus.UnixFD, terminal []machd.Descriptor, unit string, err error) {
	if !machine1.ValidMachineName(name) {
		return -1, nil, "", machine1.Errorf(machine1.ErrInvalidArgs, "'%s' cannot be a machine's name", name)
	}
	parsed, err := machd.ParseRunOptions(opts)
	if err != nil {
		return -1, nil, "", err
	}
	if err := a.ask(ctx, c, access.OwnRun, access.StartDetails(name, parsed.StartOptions)); err != nil {
		return -1, nil, "", err
	}
	streams, err := takeStreams(c, stdio)
	if err != nil {
		return -1, nil, "", err
	}
	defer closeFiles(streams)
	r, err := a.launcher.StartRun(ctx, name, parsed, streams)
	if err != nil {
		return -1, nil, "", err
	}
	return handOutSession(execution.Started{Socket: r.Session, Terminal: r.Terminal, Unit: r.Unit})
}
