package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Stop has machd end a machine and returns once it has gone for good, so that it
// can be started again: it asks the machine's init, then stops its unit, then
// kills. It returns which of these ended it: machd.StopPowerOff and its like.
//
// It is an ErrNoSuchMachine if there is no such machine, and an ErrNotSupported
// if the daemon is systemd-machined: see PowerOff and WatchGone.
//
// If the daemon is restarted meanwhile, the one that follows is asked again.
//
// Reference: docs/api.md, StopMachine.
func (c *Client) Stop(ctx context.Context, name string, o machd.StopOptions) (how string, err error) {
	how, err = c.endThroughRestart(ctx, "StopMachine", name, o.Variants())
	if err != nil {
		return "", fmt.Errorf("cannot stop %q: %w", name, err)
	}
	return how, nil
}

// TerminateAndWait has machd end a machine at once, without asking its init, and
// returns once it has gone for good. It returns what ended it: machd.StopKill if
// what ran the machine did not clean up, so that something of it may be left.
//
// The errors, and what a restart of the daemon means, are those of Stop; with
// systemd-machined there are Terminate and WatchGone. A protected machine is
// refused.
//
// Reference: docs/api.md, TerminateMachine.
func (c *Client) TerminateAndWait(ctx context.Context, name string, o machd.TerminateOptions) (how string, err error) {
	how, err = c.endThroughRestart(ctx, "TerminateMachine", name, o.Variants())
	if err != nil {
		return "", fmt.Errorf("cannot terminate %q: %w", name, err)
	}
	return how, nil
}

// endThroughRestart asks the daemon to end a machine, and the next one if it is
// restarted meanwhile.
func (c *Client) endThroughRestart(ctx context.Context, member, name string, options map[string]dbus.Variant) (how string, err error) {
	again := false
	err = throughRestart(ctx, func() error {
		err := c.askMachd(ctx, member, []any{name, options}, &how)
		if again && errors.Is(err, machine1.ErrNoSuchMachine) {
			how, err = machd.StopGone, nil
		}
		again = true
		return err
	})
	return how, err
}

// Restart has machd end a machine as Stop does, start its unit again, and
// returns when it can be used. Only a machine that runs in a service of its own
// can be restarted.
//
// If the daemon is restarted meanwhile, PID 1 goes on with the restart: it is
// waited for, and the daemon that follows is asked again only as long as the
// machine is the one that was to end. The restart is lost, and fails, if the
// daemon was killed in the moment in which systemd-nspawn registers the machine.
//
// Reference: docs/api.md, RestartMachine.
func (c *Client) Restart(ctx context.Context, name string, o machd.StopOptions) (Launched, error) {
	l, err := c.restart(ctx, name, o)
	if err != nil {
		return Launched{}, fmt.Errorf("cannot restart %q: %w", name, err)
	}
	return l, nil
}

func (c *Client) restart(ctx context.Context, name string, o machd.StopOptions) (l Launched, err error) {
	ask := func() error {
		return c.askMachd(ctx, "RestartMachine", []any{name, o.Variants()}, &l.Unit, &l.State, &l.Note)
	}
	before, err := c.Machine(ctx, name)
	if err != nil {
		// One that is only being started is not listed, and could not be told
		// from the one that follows it.
		return l, ask()
	}
	again := false
	err = throughRestart(ctx, func() error {
		if !again {
			again = true
			return ask()
		}
		now, err := c.Machine(ctx, name)
		if err == nil && now.SinceMonotonic == before.SinceMonotonic {
			// PID 1 has one job of it if it restarts the unit already.
			err = ask()
			if !errors.Is(err, machine1.ErrNoSuchMachine) {
				return err
			}
		}
		if isGone(err) {
			now, err = c.awaitBack(ctx, before)
		}
		if err != nil {
			return err
		}
		l.Unit = now.Unit
		return c.askMachd(ctx, "WaitMachine", []any{name, machd.WaitOptions{}.Variants()}, &l.State, &l.Note)
	})
	return l, err
}

const (
	// backLimit is how long a machine may take to be listed again once PID 1 has
	// nothing more to do with its unit.
	backLimit = 30 * time.Second
	backPause = 200 * time.Millisecond
)

// awaitBack waits until a machine is listed again that PID 1 restarts, for as
// long as it does.
func (c *Client) awaitBack(ctx context.Context, before Machine) (Machine, error) {
	over := time.Now().Add(backLimit)
	for {
		// The unit comes first: if it is done with, the list is final.
		busy, state, err := c.jobAndState(ctx, before.Unit)
		if err != nil {
			return Machine{}, err
		}
		now, err := c.Machine(ctx, before.Name)
		switch {
		case !isGone(err):
			return now, err
		case busy:
			over = time.Now().Add(backLimit)
		case state == "failed":
			s := Starting{Unit: before.Unit, c: c, name: before.Name}
			return Machine{}, s.failure(ctx, "failed")
		case state == "inactive":
			return Machine{}, fmt.Errorf("%s has ended and does not run again: %w", before.Unit, machine1.ErrJobFailed)
		case time.Now().After(over):
			return Machine{}, fmt.Errorf("%s is %s, but the machine has not been registered: %w", before.Unit, state, machine1.ErrTimeout)
		}
		select {
		case <-time.After(backPause):
		case <-ctx.Done():
			return Machine{}, overtime(before.Unit, ctx.Err())
		}
	}
}

// isGone reports whether a machine was not listed, or no longer when it came to
// its properties.
func isGone(err error) bool {
	return errors.Is(err, machine1.ErrNoSuchMachine) || errors.Is(err, machine1.ErrUnknownObject)
}

// jobAndState reports whether PID 1 has something to do with a unit, and how
// that is, which is final if it has not.
func (c *Client) jobAndState(ctx context.Context, unit string) (busy bool, state string, err error) {
	var job struct {
		ID   uint32
		Path dbus.ObjectPath
	}
	if err := c.unitProperty(ctx, unit, unitInterface, "Job", &job); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		return false, "", err
	}
	state, err = c.activeState(ctx, unit)
	return job.ID != 0, state, err
}

// Wait returns when a machine can be used, also one that is only being started, and
// whether all of it works:
// machd.StateReady, or machd.StateDegraded. The note is what a person should
// know of that, or "".
//
// Reference: docs/api.md, WaitMachine.
func (c *Client) Wait(ctx context.Context, name string, o machd.WaitOptions) (state, note string, err error) {
	err = throughRestart(ctx, func() error {
		return c.askMachd(ctx, "WaitMachine", []any{name, o.Variants()}, &state, &note)
	})
	if err != nil {
		return "", "", fmt.Errorf("cannot wait for %q: %w", name, err)
	}
	return state, note, nil
}
