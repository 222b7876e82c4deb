package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// Start starts the container NAME from the image of that name, as the unit
// systemd-nspawn@NAME.service, and returns when the unit has started. See
// QueueStart for its errors, and Starting.Wait.
func (c *Client) Start(ctx context.Context, name string) error {
	s, err := c.QueueStart(ctx, name)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Wait(ctx)
}

// A Starting is a container whose unit is being started.
type Starting struct {
	Unit string

	c    *Client
	name string
	job  dbus.ObjectPath
	sub  *subscription

	over    bool
	outcome error // valid if over
}

// ErrRunning says that the machine to start runs already, as the very unit
// that would be started. It is a kind of ErrMachineExists.
var ErrRunning = fmt.Errorf("already running: %w", machine1.ErrMachineExists)

// QueueStart asks PID 1 to start the container and does not wait. Errors are
// ErrInvalidArgs for a name that cannot be a machine's, ErrNoSuchImage,
// ErrRunning, and ErrMachineExists if something else runs under that name.
func (c *Client) QueueStart(ctx context.Context, name string) (*Starting, error) {
	if !machine1.ValidMachineName(name) {
		return nil, fmt.Errorf("cannot start %q: not a machine name: %w", name, machine1.ErrInvalidArgs)
	}
	unit := machine1.ServiceUnit(name)
	if err := c.mayStart(ctx, name, unit); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	return c.queueUnit(ctx, name, unit)
}

// queueUnit asks PID 1 to start a unit of a machine.
func (c *Client) queueUnit(ctx context.Context, name, unit string) (*Starting, error) {
	sub, err := c.subscribe(ctx, systemdName, wanted{signal: jobRemoved, path: systemdPath})
	if err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	s := &Starting{Unit: unit, c: c, name: name, sub: sub}
	err = c.subscribeUnits(ctx)
	if err == nil {
		err = c.call(ctx, systemd, systemdManager+".StartUnit", []any{unit, "fail"}, &s.job)
	}
	if err != nil {
		sub.close()
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	return s, nil
}

func (c *Client) mayStart(ctx context.Context, name, unit string) error {
	var path dbus.ObjectPath
	if err := c.ask(ctx, "GetImage", []any{name}, &path); err != nil {
		return err
	}
	m, err := c.Machine(ctx, name)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.Unit == unit {
		return c.mayStartAgain(ctx, unit)
	}
	if m.Unit == "" {
		return machine1.ErrMachineExists
	}
	return fmt.Errorf("%w, in unit %s", machine1.ErrMachineExists, m.Unit)
}

// mayStartAgain lets a unit that is ending be started: PID 1 waits for its end.
func (c *Client) mayStartAgain(ctx context.Context, unit string) error {
	state, err := c.activeState(ctx, unit)
	if err == nil && (state == "active" || state == "reloading") {
		return ErrRunning
	}
	return err
}

// Wait returns nil once the unit has started. Another end of the job is a
// *StartError. Whoever has given up may wait again; ErrTimeout says that ctx has
// come to its deadline, and os.ErrClosed that the start is closed.
func (s *Starting) Wait(ctx context.Context) error {
	for !s.over {
		n, err := s.sub.next(ctx)
		if err != nil {
			err = late(s.Unit+" has still a job", err)
			return fmt.Errorf("cannot tell whether %q started: %w", s.name, err)
		}
		var id uint32
		var job dbus.ObjectPath
		var unit, result string
		if n.newOwner || dbus.Store(n.Body, &id, &job, &unit, &result) != nil || job != s.job {
			continue
		}
		if s.over = true; result != "done" && result != "skipped" {
			s.outcome = s.failure(ctx, result)
		}
	}
	return s.outcome
}

// failure asks the unit why. What it cannot tell stays zero: the job's result
// is reason enough to fail.
func (s *Starting) failure(ctx context.Context, job string) error {
	e := &StartError{Name: s.name, Unit: s.Unit, Job: job}
	if job == "failed" {
		_ = s.c.unitProperty(ctx, s.Unit, serviceInterface, "Result", &e.Result)
		_ = s.c.unitProperty(ctx, s.Unit, serviceInterface, "ExecMainCode", &e.ExitCode)
		_ = s.c.unitProperty(ctx, s.Unit, serviceInterface, "ExecMainStatus", &e.ExitStatus)
		var invocation []byte
		_ = s.c.unitProperty(ctx, s.Unit, unitInterface, "InvocationID", &invocation)
		e.Invocation = fmt.Sprintf("%x", invocation)
	}
	return e
}

// Close forgets the start without undoing it.
func (s *Starting) Close() { s.sub.close() }

// A StartError says how a unit failed to start. It is an ErrJobFailed, or an
// ErrTimeout if the unit took too long.
type StartError struct {
	Name       string // of the machine
	Unit       string
	Job        string // result of the job: "failed", "timeout", "dependency", "canceled", ...
	Result     string // of the service: "exit-code", "signal", "timeout", "resources", ...; "" if unknown
	ExitCode   int32  // how the main process ended: CLD_EXITED and so on, 0 if it did not run
	ExitStatus int32  // its exit status or signal
	Invocation string // 32 hex digits that select the log lines of this start, or ""
}

// waitid(2): a main process that exited, as opposed to one that was killed.
const cldExited = 1

func (e *StartError) Error() string {
	text := fmt.Sprintf("cannot start %q: %s", e.Name, e.Unit)
	if e.Job != "failed" {
		return text + ": " + jobText(e.Job)
	}
	text += " failed"
	if e.Result != "" {
		text += fmt.Sprintf(" with result %q", e.Result)
	}
	switch {
	case e.ExitCode == 0:
	case e.ExitCode == cldExited:
		text += fmt.Sprintf(", exit status %d", e.ExitStatus)
	default:
		text += fmt.Sprintf(", killed by signal %d", e.ExitStatus)
	}
	return text
}

// Is reports whether target is ErrJobFailed, or ErrTimeout for a time-out.
func (e *StartError) Is(target error) bool {
	timeout := e.Job == "timeout" || e.Result == "timeout"
	return target == machine1.ErrJobFailed || target == machine1.ErrTimeout && timeout
}

func jobText(result string) string {
	switch result {
	case "timeout":
		return "the job took too long"
	case "dependency":
		return "a unit that it needs failed"
	case "canceled":
		return "the job was canceled"
	case "assert":
		return "an assertion of the unit does not hold"
	case "unsupported":
		return "this host does not support such units"
	}
	return fmt.Sprintf("the job ended with result %q", result)
}
