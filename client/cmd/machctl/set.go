package main

import (
	"context"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const setHelp = `--memory, --cpus, --tasks and --io-weight limit what the machines take from now on,
and say infinity to take a limit away. They hold as long as the machine's unit
does; with --save they hold for its later starts, too. If one of them makes no
sense, none is set. Any machine that has a unit to itself can be limited,
whoever started it.`

// set limits machines that run.
func (a *app) set(ctx context.Context, names []string) error {
	o := machd.LimitOptions{Limits: a.launch.Limits, Save: a.launch.Save}
	if o.Limits == (machd.Limits{}) {
		return usagef("set: what should be set? There are --memory, --cpus, --tasks and --io-weight")
	}
	if err := checkNames(names, machine1.ValidMachineName); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, machd.ActionSetLimits); err != nil {
		return err
	}
	return a.actOnEach(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return a.client.SetLimits(ctx, name, o)
	})
}
