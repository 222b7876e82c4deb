package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// restart has machd end machines and start their units again.
func (a *app) restart(ctx context.Context, names []string) error {
	if a.stock {
		return a.reboot(ctx, names)
	}
	names, err := a.toEnd(ctx, names, "restart")
	if err != nil {
		return err
	}
	restarts := make([]func() error, len(names))
	for i, name := range names {
		restarts[i] = func() error { return a.restartOne(ctx, name) }
	}
	return a.summed("restarted", len(names), a.actTogether(restarts))
}

func (a *app) restartOne(ctx context.Context, name string) error {
	launched, err := a.client.Restart(ctx, name, a.stopOptionsFor())
	switch {
	case err == nil:
		a.startNote(name, launched.Note)
		return nil
	case errors.Is(err, machine1.ErrNotSupported):
		return &hintedError{err, fmt.Sprintf(`"machctl reboot %s" asks its init to reboot`, name)}
	case errors.Is(err, machine1.ErrNoSuchMachine) && a.canStart(name):
		return &hintedError{err, fmt.Sprintf(`"machctl start %s" starts it`, name)}
	}
	return a.protectedHint(err)
}

// canStart reports whether there is an image of that name, for a hint.
func (a *app) canStart(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), guessTimeout)
	defer cancel()
	has, err := a.client.Silent().HasImage(ctx, name)
	return has && err == nil
}

// toEnd connects and returns the machines that names and patterns are about,
// or all of them with --all.
func (a *app) toEnd(ctx context.Context, names []string, verb string) ([]string, error) {
	if len(names) == 0 && !a.all {
		return nil, usagef("%s: too few arguments; it is machctl %s NAME…", verb, verb)
	}
	plain := slices.DeleteFunc(slices.Clone(names), isPattern)
	if err := a.checkLookups(plain...); err != nil {
		return nil, err
	}
	if a.client == nil {
		if err := a.connectToAct(ctx, machd.ActionStop); err != nil {
			return nil, err
		}
	}
	a.action = machd.ActionStop
	if !a.all && len(plain) == len(names) {
		return names, nil
	}
	running, err := limited(ctx, a, a.client.List)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if matching := machinesLike(running, name); isPattern(name) && len(matching) > 0 {
			plain = append(plain, matching...)
		} else if isPattern(name) && !a.ifRunning {
			return nil, machine1.Errorf(machine1.ErrNoSuchMachine, "no machine is called like %q", name)
		}
	}
	if a.all {
		plain = append(plain, machinesLike(running, "*")...)
	}
	slices.Sort(plain)
	return slices.Compact(plain), nil
}

// machinesLike returns the names that match a pattern, but never the host.
func machinesLike(running []machine1.ListedMachine, pattern string) (names []string) {
	for _, m := range running {
		if ok, _ := path.Match(pattern, m.Name); ok && m.Name != machine1.Host {
			names = append(names, m.Name)
		}
	}
	return names
}
