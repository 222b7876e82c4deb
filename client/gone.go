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
	gone bool // the machine, whatever its unit does
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

// Wait returns nil once the machine has ended, at once if it has already. A restart
// of the daemon does not disturb it; ErrDisconnected says that the bus is gone and
// nobody can tell, ErrTimeout that ctx has come to its deadline, and os.ErrClosed
// that the watch is closed.
func (g *GoneWatch) Wait(ctx context.Context) error {
	if err := g.waitMachine(ctx); err != nil {
		return late(fmt.Sprintf("%q has not ended", g.name), err)
	}
	if g.unit == "" {
		return nil
	}
	return g.c.waitInactive(ctx, g.unit)
}

func (g *GoneWatch) waitMachine(ctx context.Context) error {
	// What ended before the watch began is told by nobody.
	g.gone = g.gone || g.isGone(ctx)
	for !g.gone {
		n, err := g.sub.next(ctx)
		if err != nil {
			return err
		}
		// A new daemon says nothing about what ended while there was none.
		g.gone = !n.newOwner || g.isGone(ctx)
	}
	return nil
}

// isGone asks the daemon. One of a user does not know the host, which is there.
func (g *GoneWatch) isGone(ctx context.Context) bool {
	var path dbus.ObjectPath
	return g.name != machine1.Host && errors.Is(g.c.ask(ctx, "GetMachine", []any{g.name}, &path), machine1.ErrNoSuchMachine)
}

// Close ends the watch.
func (g *GoneWatch) Close() { g.sub.close() }
