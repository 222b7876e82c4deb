package varlinkapi

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

// What an answer of Subscribe tells. The strings are part of the API.
const (
	eventPresent = "present" // the machine was there already
	eventListed  = "listed"  // all that were there have been told
	eventAdded   = "added"
	eventRemoved = "removed"
)

// A change is one answer of Subscribe.
type change struct {
	Event   string  `json:"event"`
	Machine *record `json:"machine,omitempty"`
}

var errTooSlow = &varlink.Error{Name: machd.MachineVarlink + ".TooSlow"}

// subscribe tells of every machine, and then of each that comes or goes, once
// and in the order of the registry. A caller who does not read for too long is
// told so if he ever does, and hung up on.
func subscribe(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	f := a.changes.follow()
	defer f.close()
	for m := range f.view.All() {
		if err := c.Notify(change{eventPresent, a.known(m)}); err != nil {
			return nil, err
		}
	}
	f.view = nil // it would keep all of them for as long as the caller stays
	if err := c.Notify(change{Event: eventListed}); err != nil {
		return nil, err
	}
	for {
		events, err := f.events(ctx)
		if errors.Is(err, errTooSlow) {
			c.HangUp()
		}
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			told := eventRemoved
			if e.Added {
				told = eventAdded
			}
			if err := c.Notify(change{told, a.known(e.Machine)}); err != nil {
				return nil, err
			}
		}
	}
}
