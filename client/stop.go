package client

import (
	"context"
	"errors"
	"fmt"

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
	again := false
	err = throughRestart(ctx, func() error {
		err := c.askMachd(ctx, "StopMachine", []any{name, o.Variants()}, &how)
		if again && errors.Is(err, machine1.ErrNoSuchMachine) {
			how, err = machd.StopGone, nil
		}
		again = true
		return err
	})
	if err != nil {
		return "", fmt.Errorf("cannot stop %q: %w", name, err)
	}
	return how, nil
}

// Restart has machd end a machine as Stop does, start its unit again, and
// returns when it can be used. Only a machine that runs in a service of its own
// can be restarted.
//
// Reference: docs/api.md, RestartMachine.
func (c *Client) Restart(ctx context.Context, name string, o machd.StopOptions) (Launched, error) {
	var l Launched
	err := c.askMachd(ctx, "RestartMachine", []any{name, o.Variants()}, &l.Unit, &l.State, &l.Note)
	if err != nil {
		return Launched{}, fmt.Errorf("cannot restart %q: %w", name, err)
	}
	return l, nil
}

// Wait returns when a machine can be used, and whether all of it works:
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
