package main

import (
	"errors"
	"os"
	"sync"

	"github.com/machd/machd/pkg/machine1"
)

// inOrder is each; as the stock command we leave it at the first that fails.
func (a *app) inOrder(names []string, do func(name string) error) error {
	failed := false
	return each(names, func(name string) error {
		if failed && a.stock {
			return nil
		}
		err := do(name)
		failed = failed || err != nil
		return err
	})
}

// each runs do for every name in order, whatever becomes of the others, and
// returns what went wrong.
func each(names []string, do func(name string) error) error {
	var failed failures
	for _, name := range names {
		if err := do(name); err != nil {
			failed = append(failed, err)
		}
	}
	return failed.orNil()
}

// atOnce is how many questions go out at the same time; daemons take about a
// thousand of one client.
const atOnce = 64

// gather asks about all names at the same time, and returns the answers there
// are in the order of the names.
func gather[T any](a *app, names []string, ask func(name string) (T, error)) (got []T, err error) {
	if a.stock {
		err := a.inOrder(names, func(name string) error {
			answer, err := ask(name)
			if err == nil {
				got = append(got, answer)
			}
			return err
		})
		return got, err
	}
	answers := make([]*T, len(names))
	asks := make([]func() error, len(names))
	slots := make(chan struct{}, atOnce)
	for i, name := range names {
		asks[i] = func() error {
			slots <- struct{}{}
			defer func() { <-slots }()
			answer, err := ask(name)
			if err == nil {
				answers[i] = &answer
			}
			return err
		}
	}
	err = together(asks)
	for _, answer := range answers {
		if answer != nil {
			got = append(got, *answer)
		}
	}
	return got, err
}

// actOnEach does something to every name, as actTogether does.
func (a *app) actOnEach(names []string, do func(name string) error) error {
	if a.stock {
		return a.inOrder(names, do)
	}
	acts := make([]func() error, len(names))
	for i, name := range names {
		acts[i] = func() error { return do(name) }
	}
	return a.actTogether(acts)
}

// actTogether does several things that may need a password: root all at the same
// time, others one by one until the first was allowed, since one answer is
// good for all, as a rule.
func (a *app) actTogether(do []func() error) error {
	if os.Geteuid() == 0 || len(do) < 2 {
		return together(do)
	}
	first := do[0]()
	if errors.Is(first, machine1.ErrAccessDenied) || errors.Is(first, machine1.ErrInteractionRequired) {
		return first
	}
	return join(first, together(do[1:]))
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
