package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// A GoneWatch waits for one machine to end.
type GoneWatch struct {
	c    *Client
	name string
	unit string // to wait for as well, or ""
	sub  *subscription
}

// WatchGone begins to watch for the end of a machine. What happens between its
// return and Wait is not missed, so begin before you stop the machine. Close
// the watch when done.
func (c *Client) WatchGone(ctx context.Context, name string) (*GoneWatch, error) {
	if !machine1.ValidLookupName(name) {
		return nil, fmt.Errorf("%q cannot be a machine: %w", name, machine1.ErrInvalidArgs)
	}
	sub, err := c.subscribe(ctx, machine1.BusName, wanted{signal: machineRemoved, path: machine1.ObjectPath, arg0: name})
	if err != nil {
		return nil, err
	}
	return &GoneWatch{c: c, name: name, sub: sub}, nil
}

// AndUnit makes Wait go on until the machine's unit has ended too, if m has
// one of its own: only then can a machine be started from the same image.
func (g *GoneWatch) AndUnit(m Machine) {
	if m.Subgroup == "" && unitOfMachine(m.Unit) {
		g.unit = m.Unit
	}
}

// OwnsUnit reports whether nothing but the machine is in its unit, as far as
// names tell. systemd-nspawn since 258 keeps a part of it for itself.
func (m Machine) OwnsUnit() bool {
	return m.Unit != "" && (m.Subgroup == "" || unitOfMachine(m.Unit))
}

// unitOfMachine reports whether unit holds nothing but a machine. Older
// daemons accept a registration from any unit and call that the machine's.
func unitOfMachine(unit string) bool {
	for _, prefix := range []string{"machine-", "systemd-nspawn@", "systemd-vmspawn@"} {
		if strings.HasPrefix(unit, prefix) {
			return true
		}
	}
	return false
}

// Wait returns nil once the machine has ended. A restart of the daemon does
// not disturb it; ErrDisconnected says that the bus is gone and nobody can tell.
func (g *GoneWatch) Wait(ctx context.Context) error {
	if err := g.waitMachine(ctx); err != nil {
		return err
	}
	if g.unit == "" {
		return nil
	}
	return g.c.waitInactive(ctx, g.unit)
}

func (g *GoneWatch) waitMachine(ctx context.Context) error {
	for {
		n, err := g.sub.next(ctx)
		if err != nil {
			return err
		}
		if !n.newOwner {
			return nil
		}
		// A new daemon says nothing about what ended while there was none.
		var path dbus.ObjectPath
		err = g.c.ask(ctx, "GetMachine", []any{g.name}, &path)
		if errors.Is(err, machine1.ErrNoSuchMachine) {
			return nil
		}
	}
}

// Close ends the watch.
func (g *GoneWatch) Close() { g.sub.close() }
