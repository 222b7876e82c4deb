package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Starter starts machines; *launch.Launcher does.
type Starter interface {
	Start(ctx context.Context, name string, o machd.StartOptions) (launch.Result, error)
}

var startRows = []vtable.Method{
	{
		Name: "StartMachine",
		Doc:  "Starts a machine as a unit and waits until it is as far as `wait` says. The state is `queued`, `registered`, `ready` or `degraded`; the note is for a person. If it fails before that, all that was done is undone, and the error's lines after the first are the last ones that the machine wrote. A caller that leaves does not end the start.",
		In:   "name options", Out: "unit state note", Access: machd.ActionStart, Slow: true, Func: ownStart,
	},
}

// ownSignals tell what became of starts, also when nobody waited, and what is
// not the same any more of machines that run.
var ownSignals = []vtable.Signal{
	{
		Name: "MachineReady",
		Doc:  "A machine that was started by machd can be used.",
		Args: "machine path", Types: "so",
	},
	{
		Name: "MachineFailed",
		Doc:  "A machine could not be started by machd.",
		Args: "machine unit reason", Types: "sss",
	},
	{
		Name: "MachineChanged",
		Doc:  "A machine that runs has other ports than before.",
		Args: "machine path", Types: "so",
	},
}

// ownStart answers when the machine has come as far as the option "wait" says.
func ownStart(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (unit, state, note string, err error) {
	if !machine1.ValidMachineName(name) {
		return "", "", "", machine1.Errorf(machine1.ErrInvalidArgs, "'%s' cannot be a machine's name", name)
	}
	parsed, err := machd.ParseStartOptions(opts)
	if err != nil {
		return "", "", "", err
	}
	if err := a.ask(ctx, c, access.OwnStart, access.StartDetails(name, parsed)); err != nil {
		return "", "", "", err
	}
	r, err := a.launcher.Start(ctx, name, parsed)
	return r.Unit, r.State, r.Note, err
}

// AnnounceChange queues the signal that a machine is not as it was. It does not
// block.
func AnnounceChange(to Emitter, name string) {
	to.Emit(machine1.ObjectPath, machd.ManagerInterface, "MachineChanged", name, machine1.MachinePath(name))
}

// AnnounceStart queues the signal that tells of e. It does not block.
func AnnounceStart(to Emitter, e launch.Event) {
	if e.Ready {
		to.Emit(machine1.ObjectPath, machd.ManagerInterface, "MachineReady", e.Name, machine1.MachinePath(e.Name))
		return
	}
	to.Emit(machine1.ObjectPath, machd.ManagerInterface, "MachineFailed", e.Name, e.Unit, e.Reason)
}
