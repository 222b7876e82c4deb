package inside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Wait returns how the command ended. If ctx ends first, it is lost.
func (e *Execution) Wait(ctx context.Context) machd.Outcome {
	var end ending
	err := e.awaitNews(ctx)
	if err == nil {
		end, err = e.await(ctx)
	}
	for err != nil && e.lives(ctx, err) {
		// The machine's bus was started again, say. The unit is still there.
		if err = e.reconnect(ctx); err == nil {
			end, err = e.await(ctx)
		}
	}
	if err != nil {
		return machd.Outcome{Failure: machd.FailureLost, Message: e.lost(ctx, err)}
	}
	return end.outcome(e.unit)
}

func (e *Execution) lost(ctx context.Context, err error) string {
	where := "Machine " + e.unit.machine
	switch {
	case e.leader != nil && !e.leader.Alive():
		return where + " has ended, and the command with it"
	case ctx.Err() != nil:
		return fmt.Sprintf("How %q ended is not known: %v", e.unit.Args[0], context.Cause(ctx))
	}
	return fmt.Sprintf("How %q ended in machine %s is not known: %v", e.unit.Args[0], e.unit.machine, err)
}

// lives reports whether it makes sense to ask again after err.
func (e *Execution) lives(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, machine1.ErrDisconnected) && (e.leader == nil || e.leader.Alive())
}

// reconnectPause is between two attempts to reach the bus of a machine that has
// hung up; there are sessionLimit's worth of them.
const reconnectPause = 100 * time.Millisecond

// reconnect gets hold of the unit again, if it is still there.
func (e *Execution) reconnect(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionLimit, errSilentManager)
	defer cancel()
	e.manager.Close()
	for {
		p, err := e.guard.dialExec(ctx, e.leader, e.unit.follow()...)
		if err == nil {
			if err = p.call(ctx, "RefUnit", e.unit.unit); err == nil {
				e.manager = p
				return nil
			}
			p.Close()
		}
		if e.leader != nil && !e.leader.Alive() || errors.Is(err, machine1.ErrNoSuchUnit) {
			return err
		}
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
			return err
		}
	}
}

// An ending is what the service manager knows of a command that has ended.
type ending struct {
	ran          bool // the program, and not only what was to become it
	code, status int64
}

// await returns when the unit is over. It looks, and then at each reason to look
// again. All is asked for in one go, and answered in this order: once the unit
// is over, none of the rest changes any more.
func (e *Execution) await(ctx context.Context) (ending, error) {
	for {
		numbers, err := e.manager.numbers(ctx, e.unit.path(),
			[2]string{unitInterface, "InactiveEnterTimestampMonotonic"}, [2]string{unitInterface, "ActiveEnterTimestampMonotonic"},
			[2]string{serviceInterface, "ExecMainCode"}, [2]string{serviceInterface, "ExecMainStatus"})
		if err != nil {
			return ending{}, err
		}
		if over, active := numbers[0], numbers[1]; over != 0 {
			return ending{ran: active != 0, code: numbers[2], status: numbers[3]}, nil
		}
		if err := e.awaitNews(ctx); err != nil {
			return ending{}, err
		}
	}
}

// awaitNews returns when the bus has told what may be the end of the unit.
func (e *Execution) awaitNews(ctx context.Context) error {
	p := e.manager
	return p.during(ctx, func() error {
		for !p.news {
			r, err := readReply(p.input)
			if err != nil {
				return err
			}
			p.news = r.news
		}
		p.news = false
		return nil
	})
}

// Values of ExecMainCode, as of waitid(2).
const (
	codeExited = 1
	codeKilled = 2
	codeDumped = 3
)

// What systemd.exec(5) calls process exit codes, beyond those that shells know.
const (
	statusChdir     = 200
	firstOfManager  = 200
	lastOfManager   = 245
	maxSignalNumber = 64
)

// outcome is what end means for who has had u run.
func (end ending) outcome(u execUnit) machd.Outcome {
	refused := func(text string) machd.Outcome {
		return machd.Outcome{Failure: machd.FailureRefused, Message: text}
	}
	switch {
	case end.code == codeKilled || end.code == codeDumped:
		return machd.Outcome{Signal: int(min(max(end.status, 1), maxSignalNumber))}
	case end.code != codeExited:
		return refused(fmt.Sprintf("Machine %s did not run %q: it is shutting down, or the start was cancelled", u.machine, u.Args[0]))
	case end.ran || end.status < firstOfManager || end.status > lastOfManager:
		exit := int(end.status & 0xff)
		return machd.Outcome{Exit: &exit}
	case end.status == statusExec:
		return machd.Outcome{
			Failure: machd.FailureNotExecutable,
			Message: fmt.Sprintf("Cannot run %q %s: it is no program for this system, or user %q may not run it", u.program, u.where(), u.User),
		}
	case end.status == statusChdir:
		return refused(fmt.Sprintf("Cannot run %q %s: there is no directory %q, or user %q may not go there", u.Args[0], u.where(), u.Directory, u.User))
	}
	shell := shellUnit{Shell: Shell{User: u.User, Path: u.program}, machine: u.machine}
	return refused(shell.refusal(end.status).Error())
}

func (u execUnit) where() string { return whereIs(u.machine) }
