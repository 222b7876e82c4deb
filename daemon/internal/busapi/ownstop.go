package busapi

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Ender waits for machines and ends them; *launch.Launcher does.
type Ender interface {
	Wait(ctx context.Context, m machine.Machine, o machd.WaitOptions) (state, note string, err error)
	WaitUnregistered(ctx context.Context, name string, o machd.WaitOptions) (state, note string, err error)
	Stop(ctx context.Context, m machine.Machine, o machd.StopOptions) (how string, err error)
	StopUnregistered(ctx context.Context, name string, o machd.StopOptions) (how string, err error)
	Terminate(ctx context.Context, m machine.Machine, o machd.TerminateOptions) (how string, err error)
	TerminateUnregistered(ctx context.Context, name string, o machd.TerminateOptions) (how string, err error)
	Restart(ctx context.Context, m machine.Machine, o machd.StopOptions) (launch.Result, error)
	RestartUnregistered(ctx context.Context, name string, o machd.StopOptions) (launch.Result, error)
}

// stopRows end machines and wait for them.
var stopRows = []vtable.Method{
	{
		Name: "StopMachine",
		Doc:  "Ends a machine: asks its init, then stops its unit, then kills it, each when the step before took longer than `timeout`. The reply comes when the machine and its unit are gone, and says which step it was: `poweroff`, `stop`, `kill`, or `gone` if there was no machine any more.",
		In:   "machine options", Out: "how", Access: machd.ActionStop, Slow: true, Func: ownStopMachine,
	},
	{
		Name: "TerminateMachine",
		Doc:  "Ends a machine at once, without asking its init: kills it, stops its unit, and kills what has not cleaned up within `timeout`. The reply comes when the machine and its unit are gone, and is that of StopMachine. One that was started protected is refused.",
		In:   "machine options", Out: "how", Access: machine1.ActionManageMachines, Slow: true, Func: ownTerminateMachine,
	},
	{
		Name: "RestartMachine",
		Doc:  "Ends a machine likewise and starts it again as the same unit. The reply is that of StartMachine.",
		In:   "machine options", Out: "unit state note", Access: machd.ActionStop, Slow: true, Func: ownRestartMachine,
	},
	{
		Name: "WaitMachine",
		Doc:  "Waits until a machine can be used, also one that is only being started. The reply is that of StartMachine, without the unit. It ends when its caller leaves the bus, and one user may wait for 16 machines at a time.",
		In:   "machine options", Out: "state note", Slow: true, Func: ownWaitMachine,
	},
}

// stopMachineRows is the same on a machine's object.
var stopMachineRows = []vtable.Method{
	{
		Name: "Stop",
		Doc:  "As StopMachine.",
		In:   "options", Out: "how", Access: machd.ActionStop, Slow: true, Func: ownStop,
	},
	{
		Name: "Terminate",
		Doc:  "As TerminateMachine.",
		In:   "options", Out: "how", Access: machine1.ActionManageMachines, Slow: true, Func: ownTerminate,
	},
	{
		Name: "Restart",
		Doc:  "As RestartMachine.",
		In:   "options", Out: "unit state note", Access: machd.ActionStop, Slow: true, Func: ownRestart,
	},
	{
		Name: "Wait",
		Doc:  "As WaitMachine.",
		In:   "options", Out: "state note", Slow: true, Func: ownWait,
	},
}

// ownStopMachine also ends a machine that is only being started, or has left
// its unit behind.
func ownStopMachine(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (how string, err error) {
	if m, err := a.find(name); err == nil {
		return ownStop(ctx, c, machineObject{a, m}, opts)
	}
	parsed, err := a.mayEndUnregistered(ctx, c, access.OwnStop, name, opts)
	if err != nil {
		return "", err
	}
	return a.launcher.StopUnregistered(ctx, name, parsed)
}

// ownTerminateMachine asks for the right that the stock method takes.
func ownTerminateMachine(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (how string, err error) {
	if m, err := a.find(name); err == nil {
		return ownTerminate(ctx, c, machineObject{a, m}, opts)
	}
	parsed, err := machd.ParseTerminateOptions(opts)
	switch {
	case err != nil:
		return "", err
	case !machine1.ValidMachineName(name):
		return "", access.NoSuchMachine(name)
	}
	if err := a.ask(ctx, c, access.Terminate, map[string]string{"machine": name}); err != nil {
		return "", err
	}
	return a.launcher.TerminateUnregistered(ctx, name, parsed)
}

func ownRestartMachine(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (unit, state, note string, err error) {
	if m, err := a.find(name); err == nil {
		return ownRestart(ctx, c, machineObject{a, m}, opts)
	}
	parsed, err := a.mayEndUnregistered(ctx, c, access.OwnRestart, name, opts)
	if err != nil {
		return "", "", "", err
	}
	r, err := a.launcher.RestartUnregistered(ctx, name, parsed)
	return r.Unit, r.State, r.Note, err
}

// mayEndUnregistered asks about a machine that nobody owns: it is not there.
func (a *API) mayEndUnregistered(ctx context.Context, c *vtable.Call, rule access.Rule, name string, opts options) (machd.StopOptions, error) {
	parsed, err := machd.ParseStopOptions(opts)
	switch {
	case err != nil:
		return parsed, err
	case !machine1.ValidMachineName(name):
		return parsed, access.NoSuchMachine(name)
	}
	return parsed, a.ask(ctx, c, rule, map[string]string{"machine": name, "force": oneIf(parsed.Force)})
}

// ownStop answers once the machine has gone for good.
func ownStop(ctx context.Context, c *vtable.Call, o machineObject, opts options) (how string, err error) {
	m, parsed, err := o.mayEnd(ctx, c, access.OwnStop, opts)
	if errors.Is(err, machine1.ErrNoSuchMachine) {
		return machd.StopGone, nil // while somebody was asked
	}
	if err != nil {
		return "", err
	}
	return o.api.launcher.Stop(ctx, m, parsed)
}

// ownTerminate answers once the machine has gone for good.
func ownTerminate(ctx context.Context, c *vtable.Call, o machineObject, opts options) (how string, err error) {
	parsed, err := machd.ParseTerminateOptions(opts)
	if err != nil {
		return "", err
	}
	if o.machine.Class == machine1.ClassHost {
		return "", machine1.Errorf(machine1.ErrNotSupported, "The host cannot be terminated as a machine")
	}
	m, err := o.ask(ctx, c, access.Terminate, nil)
	if errors.Is(err, machine1.ErrNoSuchMachine) {
		return machd.StopGone, nil // while somebody was asked
	}
	if err != nil {
		return "", err
	}
	return o.api.launcher.Terminate(ctx, m, parsed)
}

// ownRestart answers once the machine can be used again.
func ownRestart(ctx context.Context, c *vtable.Call, o machineObject, opts options) (unit, state, note string, err error) {
	m, parsed, err := o.mayEnd(ctx, c, access.OwnRestart, opts)
	if err != nil {
		return "", "", "", err
	}
	r, err := o.api.launcher.Restart(ctx, m, parsed)
	return r.Unit, r.State, r.Note, err
}

func (o machineObject) mayEnd(ctx context.Context, c *vtable.Call, rule access.Rule, opts options) (machine.Machine, machd.StopOptions, error) {
	parsed, err := machd.ParseStopOptions(opts)
	if err != nil {
		return *o.machine, parsed, err
	}
	if o.machine.Class == machine1.ClassHost {
		return *o.machine, parsed, machine1.Errorf(machine1.ErrNotSupported, "The host cannot be ended as a machine")
	}
	m, err := o.ask(ctx, c, rule, map[string]string{"force": oneIf(parsed.Force)})
	return m, parsed, err
}

// ownWait answers once the machine can be used.
func ownWait(ctx context.Context, c *vtable.Call, o machineObject, opts options) (state, note string, err error) {
	return o.api.wait(ctx, c, opts, func(ctx context.Context, parsed machd.WaitOptions) (state, note string, err error) {
		return o.api.launcher.Wait(ctx, *o.machine, parsed)
	})
}

// ownWaitMachine also waits for a machine that is only being started.
func ownWaitMachine(ctx context.Context, c *vtable.Call, a *API, name string, opts options) (state, note string, err error) {
	m, err := a.find(name)
	switch {
	case err == nil:
		return ownWait(ctx, c, machineObject{a, m}, opts)
	case !machine1.ValidMachineName(name):
		return "", "", err
	}
	return a.wait(ctx, c, opts, func(ctx context.Context, parsed machd.WaitOptions) (state, note string, err error) {
		return a.launcher.WaitUnregistered(ctx, name, parsed)
	})
}

// wait has do wait. Nobody is asked whether he may, so it ends with its caller,
// and no user can have too many.
func (a *API) wait(ctx context.Context, c *vtable.Call, opts options, do func(context.Context, machd.WaitOptions) (state, note string, err error)) (state, note string, err error) {
	parsed, err := machd.ParseWaitOptions(opts)
	if err != nil {
		return "", "", err
	}
	ctx, caller, done, err := a.callers.Attend(ctx, c.Sender)
	if err != nil {
		return "", "", err
	}
	defer done()
	if !caller.Privileged() {
		end, err := a.operations.BeginWait(caller.UID)
		if err != nil {
			return "", "", err
		}
		defer end()
	}
	return do(ctx, parsed)
}
