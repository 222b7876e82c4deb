package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
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

// startVerb has names before "--" and a command behind it, which the stock command
// knows nothing of.
func (a *app) startVerb(verb *cobra.Command) {
	verb.RunE = func(cmd *cobra.Command, args []string) error {
		names, command := args, []string(nil)
		if dash := cmd.ArgsLenAtDash(); dash >= 0 && !a.stock {
			names, command = args[:dash], args[dash:]
		}
		if len(names) == 0 {
			// As units do, which cannot know what a name begins with.
			names, command = command, nil
		}
		return a.start(cmd.Context(), names, command)
	}
	a.shortNetwork(verb)
}

// start has machd start machines, all at the same time.
func (a *app) start(ctx context.Context, names, command []string) error {
	o, err := a.startFor(command)
	if err != nil {
		return err
	}
	plain := len(withoutWait(o).Variants()) == 0 && !a.dryRun
	if a.stock && !a.dryRun || a.user && plain {
		return a.startUnits(ctx, names)
	}
	if err := a.connectToAct(ctx, machd.ActionStart); err != nil {
		return err
	}
	ours, err := a.isMachd(ctx)
	switch {
	case err != nil:
		return err
	case !ours && plain:
		return a.startUnits(ctx, names)
	}
	if names, err = a.imageNames(ctx, names); err != nil {
		return err
	}
	if err := checkNames(names, machine1.ValidMachineName); err != nil {
		return err
	}
	if a.dryRun {
		return a.plan(ctx, names, o)
	}
	starts := make([]func() error, 0, len(names))
	for _, name := range names {
		starts = append(starts, func() error { return a.startOne(ctx, name, o) })
	}
	return a.summed("started", len(names), a.actTogether(starts))
}

func withoutWait(o machd.StartOptions) machd.StartOptions {
	o.Wait, o.WaitTimeout = "", 0
	return o
}

// startOne starts a machine. The daemon has a limit of its own.
func (a *app) startOne(ctx context.Context, name string, o machd.StartOptions) error {
	launched, err := a.client.Launch(ctx, name, o)
	switch {
	case err == nil:
		a.startNote(name, launched.Note)
		return nil
	case errors.Is(err, machine1.ErrJobFailed), errors.Is(err, machine1.ErrTimeout):
		return &hintedError{err, fmt.Sprintf(`"machctl logs %s" says more`, name)}
	case errors.Is(err, machine1.ErrMachineExists):
		if other, inUse := userOf(err); inUse {
			return &hintedError{err, fmt.Sprintf(`"machctl stop %s" ends that one first`, other)}
		}
		return &hintedError{err, fmt.Sprintf(`"machctl stop %s" ends it first; "machctl set" and "machctl port" change one that runs`, name)}
	}
	return err
}

// userOf returns the machine that has what was to be started in use, if err is
// about that.
func userOf(err error) (name string, inUse bool) {
	_, after, inUse := strings.Cut(err.Error(), "is in use by machine '")
	name, _, _ = strings.Cut(after, "'")
	return name, inUse
}

// startNote shows what the daemon tells of a machine. Most of that is about "it".
func (a *app) startNote(name, note string) {
	if note == "" {
		return
	}
	if rest, ok := strings.CutPrefix(note, "it "); ok {
		a.ui.notice(fmt.Sprintf("%q %s", name, rest))
		return
	}
	a.ui.notice(fmt.Sprintf("%q: %s", name, note))
}

// summed says how many of several it is done with, and returns what went wrong.
func (a *app) summed(done string, all int, err error) error {
	if all > 1 {
		failed := 0
		if err != nil {
			failed = len(flatten(err))
		}
		a.ui.notice(fmt.Sprintf("%s %d of %d", done, all-failed, all))
	}
	return err
}

// imageNames replaces patterns by the names of the images that match.
func (a *app) imageNames(ctx context.Context, names []string) (all []string, err error) {
	if !slices.ContainsFunc(names, isPattern) {
		return names, nil
	}
	images, err := limited(ctx, a, a.client.Images)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !isPattern(name) {
			all = append(all, name)
			continue
		}
		before := len(all)
		for _, image := range images {
			if ok, _ := path.Match(name, image.Name); ok && machine1.ValidMachineName(image.Name) {
				all = append(all, image.Name)
			}
		}
		if len(all) == before {
			return nil, machine1.Errorf(machine1.ErrNoSuchImage, "no image is called like %q", name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// startUnits starts containers as units of the stock template. The units are
// queued one after the other, since each may ask for a password, and awaited
// together.
func (a *app) startUnits(ctx context.Context, names []string) error {
	if err := checkNames(names, machine1.ValidMachineName); err != nil {
		return err
	}
	a.action = actionManageUnits
	if a.client == nil {
		if err := a.connectToAct(ctx, actionManageUnits); err != nil {
			return err
		}
	}
	var waits []func() error
	failed := a.inOrder(names, func(name string) error {
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
	if a.noWait || a.stock && failed != nil {
		return failed
	}
	return join(failed, together(waits))
}

func (a *app) queueStart(ctx context.Context, name string) (*client.Starting, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	if a.launch.VM {
		return a.client.QueueStartVM(ctx, name)
	}
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
