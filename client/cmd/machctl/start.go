package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// actionManageUnits is what PID 1 asks for before it starts a unit.
const actionManageUnits = "org.freedesktop.systemd1.manage-units"

// A loggedError has log lines that say more.
type loggedError struct {
	error
	lines []string
}

func (e *loggedError) Unwrap() error { return e.error }

// start starts containers as units of the stock template. The units are queued
// one after the other, since each may ask for a password, and awaited together.
func (a *app) start(ctx context.Context, names []string) error {
	if err := checkNames(names, machine1.ValidMachineName); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, actionManageUnits); err != nil {
		return err
	}
	var waits []func() error
	failed := each(names, func(name string) error {
		starting, err := a.queueStart(ctx, name)
		if errors.Is(err, client.ErrRunning) {
			a.ui.notice(fmt.Sprintf("%q is running already", name))
			return nil
		}
		if err != nil {
			return err
		}
		waits = append(waits, func() error {
			defer starting.Close()
			return a.awaitStart(ctx, starting)
		})
		return nil
	})
	if a.noWait {
		return failed
	}
	return join(failed, together(waits))
}

func (a *app) queueStart(ctx context.Context, name string) (*client.Starting, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return a.client.QueueStart(ctx, name)
}

// awaitStart has no limit of its own: the unit has one.
func (a *app) awaitStart(ctx context.Context, starting *client.Starting) error {
	wait := ctx
	if a.timeout.d > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, a.timeout.d)
		defer cancel()
	}
	err := starting.Wait(wait)
	var failed *client.StartError
	if !errors.As(err, &failed) {
		return err
	}
	hint := fmt.Sprintf(`"%s" and "%s" say more`, a.scoped("systemctl status "+failed.Unit), a.scoped("journalctl -u "+failed.Unit))
	return &hintedError{&loggedError{err, a.startLog(ctx, failed)}, hint}
}

// together runs all of do at the same time and returns the errors in the order
// of do.
func together(do []func() error) error {
	errs := make([]error, len(do))
	var wait sync.WaitGroup
	for i, f := range do {
		wait.Go(func() { errs[i] = f() })
	}
	wait.Wait()
	return join(errs...)
}

// join returns the errors there are as one.
func join(errs ...error) error {
	var failed failures
	for _, err := range errs {
		if err != nil {
			failed = append(failed, flatten(err)...)
		}
	}
	return failed.orNil()
}
