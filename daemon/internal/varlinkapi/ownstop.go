package varlinkapi

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
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

var (
	endTimeout = varlink.Field{Name: "timeoutUsec", Nullable: true, Type: varlink.Int, Valid: isTimeout,
		Doc: "How long the init has before the unit is stopped, and the unit before it is killed"}
	endForce = varlink.Field{Name: "force", Doc: "End a protected machine, too", Type: varlink.Bool, Nullable: true}

	endHow = varlink.Field{Name: "how", Doc: "What ended it; gone: it was not there any more",
		Type: varlink.Enum("Ending", machd.StopPowerOff, machd.StopUnit, machd.StopKill, machd.StopGone)}
	machineState = varlink.Field{Name: "state", Doc: "ready, or degraded if not all of it works", Type: varlink.String}
	machineNote  = varlink.Field{Name: "note", Doc: "What a person should know of that", Type: varlink.String, Nullable: true}
)

// stopMethods end machines and wait for them.
var stopMethods = []varlink.Method[*API]{
	{
		Name:   "Stop",
		Doc:    "Ends a machine and waits until it has gone for good: asks its init, then stops its unit, then kills",
		In:     onMachine(endTimeout, endForce),
		Out:    varlink.Fields{endHow},
		Access: machd.ActionStop,
		Func:   ownStop,
	},
	{
		Name: "Terminate",
		Doc:  "Ends a machine at once and waits until it has gone for good, without asking its init: kills it, then stops its unit",
		In: onMachine(varlink.Field{Name: "timeoutUsec", Nullable: true, Type: varlink.Int, Valid: isTimeout,
			Doc: "How long what runs it has to clean up before that is killed"}),
		Out:    varlink.Fields{endHow},
		Access: machine1.ActionManageMachines,
		Func:   ownTerminate,
	},
	{
		Name:   "Restart",
		Doc:    "Ends a machine, starts its unit again, and waits until it can be used",
		In:     onMachine(endTimeout, endForce),
		Out:    varlink.Fields{{Name: "unit", Type: varlink.String}, machineState, machineNote},
		Access: machd.ActionStop,
		Func:   ownRestart,
	},
	{
		Name: "Wait",
		Doc:  "Waits until a machine can be used, also one that is only being started",
		In: onMachine(varlink.Field{Name: "timeoutUsec", Doc: "How long; 90 s if left out", Type: varlink.Int,
			Nullable: true, Valid: isTimeout}),
		Out:  varlink.Fields{machineState, machineNote},
		Func: ownWait,
	},
}

// maxTimeout is a year, in µs: as good as none.
const maxTimeout = int64(365 * 24 * time.Hour / time.Microsecond)

func isTimeout(v any) bool { return 0 < v.(int64) && v.(int64) <= maxTimeout }

func timeoutOf(c *varlink.Call) time.Duration {
	return time.Duration(c.In.Int("timeoutUsec")) * time.Microsecond
}

type endedReply struct {
	How string `json:"how"`
}

type readyReply struct {
	Unit  string `json:"unit,omitempty"`
	State string `json:"state"`
	Note  string `json:"note,omitempty"`
}

// ownStop also ends a machine that is only being started, or has left its unit
// behind.
func ownStop(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, listed, err := a.mayEnd(ctx, c, access.OwnStop, forceOf(c))
	if listed && errors.Is(err, machine1.ErrNoSuchMachine) {
		return endedReply{machd.StopGone}, nil // while somebody was asked
	}
	if err != nil {
		return nil, err
	}
	var how string
	if listed {
		how, err = a.Launcher.Stop(ctx, m, stopOptions(c))
	} else {
		how, err = a.Launcher.StopUnregistered(ctx, m.Name, stopOptions(c))
	}
	return endedReply{how}, err
}

// ownTerminate asks for the right that the stock method takes.
func ownTerminate(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, listed, err := a.mayEnd(ctx, c, access.Terminate, nil)
	if listed && errors.Is(err, machine1.ErrNoSuchMachine) {
		return endedReply{machd.StopGone}, nil // while somebody was asked
	}
	if err != nil {
		return nil, err
	}
	var how string
	o := machd.TerminateOptions{Timeout: timeoutOf(c)}
	if listed {
		how, err = a.Launcher.Terminate(ctx, m, o)
	} else {
		how, err = a.Launcher.TerminateUnregistered(ctx, m.Name, o)
	}
	return endedReply{how}, err
}

func ownRestart(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, listed, err := a.mayEnd(ctx, c, access.OwnRestart, forceOf(c))
	if err != nil {
		return nil, err
	}
	var r launch.Result
	if listed {
		r, err = a.Launcher.Restart(ctx, m, stopOptions(c))
	} else {
		r, err = a.Launcher.RestartUnregistered(ctx, m.Name, stopOptions(c))
	}
	return readyReply{r.Unit, r.State, r.Note}, unsupported(err, errNotSupported)
}

func stopOptions(c *varlink.Call) machd.StopOptions {
	return machd.StopOptions{Timeout: timeoutOf(c), Force: c.In.Bool("force")}
}

// mayEnd returns the machine that the caller names, or only its name if it is
// not listed, once he may end it. The question has more details.
func (a *API) mayEnd(ctx context.Context, c *varlink.Call, rule access.Rule, more map[string]string) (m machine.Machine, listed bool, err error) {
	about := func(name string) map[string]string {
		details := map[string]string{"machine": name}
		maps.Copy(details, more)
		return details
	}
	m, err = a.find(ctx, c)
	name := c.In.String("name")
	switch {
	case err == nil && m.Class == machine1.ClassHost:
		return m, true, errNotSupported
	case err == nil:
		m, err = a.authorize(ctx, c, m, rule, about(m.Name))
		return m, true, err
	case !machine1.ValidMachineName(name) || c.In.Has("pid"):
		return m, false, err
	}
	return machine.Machine{Name: name}, false, a.ask(ctx, c, rule, about(name))
}

func forceOf(c *varlink.Call) map[string]string {
	if c.In.Bool("force") {
		return map[string]string{"force": "1"}
	}
	return map[string]string{"force": "0"}
}

// ownWait answers once the machine can be used, also one that is only being
// started.
func ownWait(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	name, listed := c.In.String("name"), err == nil
	if !listed && (!machine1.ValidMachineName(name) || c.In.Has("pid")) {
		return nil, err
	}
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return nil, err
	}
	defer caller.Close()
	if !caller.Privileged() {
		end, err := a.Operations.BeginWait(caller.UID)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	var state, note string
	o := machd.WaitOptions{Timeout: timeoutOf(c)}
	if listed {
		state, note, err = a.Launcher.Wait(ctx, m, o)
	} else {
		state, note, err = a.Launcher.WaitUnregistered(ctx, name, o)
	}
	return readyReply{State: state, Note: note}, err
}
