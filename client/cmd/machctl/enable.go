package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// actionManageUnitFiles is what PID 1 asks for before it changes what starts
// at boot.
const actionManageUnitFiles = "org.freedesktop.systemd1.manage-unit-files"

// enableOptions are options of enable and disable alone.
type enableOptions struct{ now bool }

func (o *enableOptions) addEnableFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.now, "now", false, "Start or stop the machine as well")
}

// A linker makes or removes links for one machine.
type linker func(c *client.Client, ctx context.Context, name string) ([]client.Link, error)

// enable has machines start when the host boots: by machine@.service, or where
// there is no machd by systemd's own unit, as does the stock command.
func (a *app) enable(ctx context.Context, names []string) error {
	link, ours, err := a.linkerFor(ctx, names, true, (*client.Client).Enable, (*client.Client).EnableStock)
	if err != nil {
		return err
	}
	if err := a.link(ctx, names, link); err != nil || !a.now {
		return err
	}
	a.next = "start"
	if !ours {
		return a.startUnits(ctx, names)
	}
	starts := make([]func() error, len(names))
	for i, name := range names {
		starts[i] = func() error { return a.startEnabled(ctx, name) }
	}
	return a.summed("started", len(names), a.actTogether(starts))
}

func (a *app) startEnabled(ctx context.Context, name string) error {
	// One that is ending is waited for.
	queuing, cancel := context.WithTimeout(ctx, a.timeout.or(stopTimeout))
	defer cancel()
	starting, err := a.client.QueueEnabled(queuing, name)
	if err != nil {
		return err
	}
	defer starting.Close()
	return a.awaitStart(ctx, starting)
}

// disable undoes enable. A machine that is started at boot by both units is by
// neither then.
func (a *app) disable(ctx context.Context, names []string) error {
	link, _, err := a.linkerFor(ctx, names, false, (*client.Client).Disable, (*client.Client).DisableStock)
	if err != nil {
		return err
	}
	if err := a.link(ctx, names, link); err != nil || !a.now {
		return err
	}
	a.next = "stop"
	a.ifRunning = !a.stock // to whose poweroff it is an error
	return a.stop(ctx, names)
}

// linkerFor connects and chooses by what daemon there is.
func (a *app) linkerFor(ctx context.Context, names []string, enables bool, own, stock linker) (link linker, ours bool, err error) {
	if err := checkNames(names, machine1.ValidMachineName); err != nil {
		return nil, false, err
	}
	if a.user {
		return nil, false, machine1.Errorf(machine1.ErrNotSupported, "a user's machines cannot be started with the host")
	}
	if err := a.connectToAct(ctx, actionManageUnitFiles); err != nil {
		return nil, false, err
	}
	switch {
	case a.launch.VM && enables:
		return (*client.Client).EnableVM, false, nil
	case a.launch.VM:
		return (*client.Client).DisableVM, false, nil
	case a.stock:
		return stock, false, nil
	}
	ours, err = a.isMachd(ctx)
	if ours {
		return own, true, err
	}
	return stock, false, err
}

func (a *app) link(ctx context.Context, names []string, link linker) error {
	if a.stock {
		if err := a.haveImages(ctx, names); err != nil {
			return err
		}
	}
	return a.inOrder(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		made, err := link(a.client, ctx, name)
		if errors.Is(err, machine1.ErrFileNotFound) {
			return &hintedError{err, "machine@.service is installed with machd"}
		}
		if err != nil || a.quiet {
			return err
		}
		for _, l := range made {
			switch {
			case a.stock && l.Made:
				a.ui.say(fmt.Sprintf("Created symlink '%s' %s '%s'.", l.Path, a.ui.arrow(), l.To))
			case a.stock:
				a.ui.say(fmt.Sprintf("Removed '%s'.", l.Path))
			case l.Made:
				a.ui.notice(fmt.Sprintf("made %s, a link to %s", l.Path, l.To))
			default:
				a.ui.notice("removed " + l.Path)
			}
		}
		return nil
	})
}

// haveImages looks for all images before anything is changed.
func (a *app) haveImages(ctx context.Context, names []string) error {
	return a.inOrder(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		_, err := a.client.ImageProperties(ctx, name)
		return err
	})
}
