package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Launched is how far a machine has come that was started.
type Launched struct {
	Unit  string // that carries it
	State string // machd.StateQueued, StateRegistered, StateReady or StateDegraded
	Note  string // what a person should know of that, or ""
}

// Launch has machd start a machine and returns once it has come as far as
// o.Wait says, until it can be used if that is "". If ctx ends first, the start
// goes on. A start that fails leaves nothing behind; the error's text has the
// last lines that the machine logged after its own first line.
//
// It is an ErrInvalidArgs if the options make no sense, an ErrNoSuchImage, an
// ErrMachineExists if the name is taken, an ErrJobFailed if the machine's unit
// failed, an ErrTimeout if the machine took too long, and an ErrNotSupported if
// the daemon is systemd-machined, which starts nothing: see Start.
//
// A daemon that is restarted meanwhile goes on with the start, and is asked
// again.
//
// Reference: docs/api.md, StartMachine.
func (c *Client) Launch(ctx context.Context, name string, o machd.StartOptions) (Launched, error) {
	var l Launched
	again := false
	err := throughRestart(ctx, func() (err error) {
		l, err = c.launch(ctx, name, o)
		if again && errors.Is(err, machine1.ErrMachineExists) {
			l, err = c.launched(ctx, name, o)
		}
		again = true
		return err
	})
	if err != nil {
		return Launched{}, fmt.Errorf("cannot start %q: %w", name, err)
	}
	return l, nil
}

func (c *Client) launch(ctx context.Context, name string, o machd.StartOptions) (l Launched, err error) {
	err = c.askMachd(ctx, "StartMachine", []any{name, o.Variants()}, &l.Unit, &l.State, &l.Note)
	return l, err
}

// launched is about a machine that the daemon before started.
func (c *Client) launched(ctx context.Context, name string, o machd.StartOptions) (Launched, error) {
	m, err := c.Machine(ctx, name)
	if err != nil {
		return Launched{}, err
	}
	l := Launched{Unit: m.Unit, State: machd.StateRegistered}
	if o.Wait == "" || o.Wait == machd.WaitReady {
		err = c.askMachd(ctx, "WaitMachine", []any{name, machd.WaitOptions{Timeout: o.WaitTimeout}.Variants()}, &l.State, &l.Note)
	}
	return l, err
}
