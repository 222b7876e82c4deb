package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Launched is how far a machine has come that was started.
type Launched struct {
	Unit  string // that carries it
	State string // machd.StateQueued, StateRegistered, StateReady or StateDegraded
	Note  string // what a person should know of that, or ""
}

const (
	// restartLimit is how long a daemon that ends may take to be another one.
	restartLimit = 15 * time.Second
	restartPause = 50 * time.Millisecond
)

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
func (c *Client) Launch(ctx context.Context, name string, o machd.StartOptions) (Launched, error) {
	l, err := c.launch(ctx, name, o)
	for again := time.Now().Add(restartLimit); errors.Is(err, machine1.ErrNoReply) && time.Now().Before(again); {
		// The one that ends may be who is asked once more.
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return Launched{}, fmt.Errorf("cannot start %q: %w", name, ctx.Err())
		}
		if l, err = c.launch(ctx, name, o); errors.Is(err, machine1.ErrMachineExists) {
			l, err = c.launched(ctx, name, o)
		}
	}
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
