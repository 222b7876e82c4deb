package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// DependedUnit is the unit that stands for a machine, whichever unit carries it:
// active from when the machine can be used until it ends.
func DependedUnit(name string) string { return "machine@" + name + ".service" }

// machinesTarget is what the machines are part of that start with the host.
const machinesTarget = "machines.target"

// A Link is a symbolic link below /etc that PID 1 has made or removed.
type Link struct {
	Made     bool
	Path, To string
}

type unitFileChange struct{ Kind, Path, Source string }

// Enable has a machine start when the host boots, by the unit that stands for
// it. The error is an ErrNoSuchImage if nothing is there to be started, and
// ErrFileNotFound if machd is not installed.
func (c *Client) Enable(ctx context.Context, name string) ([]Link, error) {
	return c.enable(ctx, name, DependedUnit(name))
}

// EnableStock is Enable by the unit that systemd has for a container.
func (c *Client) EnableStock(ctx context.Context, name string) ([]Link, error) {
	return c.enable(ctx, name, machine1.ServiceUnit(name))
}

func (c *Client) enable(ctx context.Context, name, unit string) ([]Link, error) {
	if err := c.mayEnable(ctx, name); err != nil {
		return nil, fmt.Errorf("cannot enable %q: %w", name, err)
	}
	var installable bool
	var changes []unitFileChange
	in := []any{[]string{machinesTarget, unit}, false, false}
	err := c.call(ctx, systemd, systemdManager+".EnableUnitFiles", in, &installable, &changes)
	if err == nil {
		err = c.call(ctx, systemd, systemdManager+".Reload", nil)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot enable %q: %w", name, err)
	}
	return links(changes), nil
}

func (c *Client) mayEnable(ctx context.Context, name string) error {
	if !machine1.ValidMachineName(name) {
		return fmt.Errorf("not a machine name: %w", machine1.ErrInvalidArgs)
	}
	var path dbus.ObjectPath
	return c.ask(ctx, "GetImage", []any{name}, &path)
}

// Disable undoes Enable and EnableStock. Its image need not be there any more.
func (c *Client) Disable(ctx context.Context, name string) ([]Link, error) {
	return c.disable(ctx, name, DependedUnit(name), machine1.ServiceUnit(name))
}

// DisableStock undoes EnableStock alone.
func (c *Client) DisableStock(ctx context.Context, name string) ([]Link, error) {
	return c.disable(ctx, name, machine1.ServiceUnit(name))
}

func (c *Client) disable(ctx context.Context, name string, units ...string) (all []Link, err error) {
	if !machine1.ValidMachineName(name) {
		return nil, fmt.Errorf("cannot disable %q: not a machine name: %w", name, machine1.ErrInvalidArgs)
	}
	for _, unit := range units {
		var changes []unitFileChange
		err := c.call(ctx, systemd, systemdManager+".DisableUnitFiles", []any{[]string{unit}, false}, &changes)
		// Either may be installed without the other.
		if err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) && !errors.Is(err, machine1.ErrFileNotFound) {
			return nil, fmt.Errorf("cannot disable %q: %w", name, err)
		}
		all = append(all, links(changes)...)
	}
	if err := c.call(ctx, systemd, systemdManager+".Reload", nil); err != nil {
		return nil, fmt.Errorf("cannot disable %q: %w", name, err)
	}
	return all, nil
}

func links(changes []unitFileChange) (all []Link) {
	for _, change := range changes {
		if change.Kind == "symlink" || change.Kind == "unlink" {
			all = append(all, Link{change.Kind == "symlink", change.Path, change.Source})
		}
	}
	return all
}

// QueueEnabled asks PID 1 to start the unit that stands for a machine, and so
// the machine, and does not wait for that. But it waits for a machine that is
// ending, as its unit counts as started for a moment longer.
func (c *Client) QueueEnabled(ctx context.Context, name string) (*Starting, error) {
	_, err := c.awaitEnded(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	for {
		s, err := c.queueUnit(ctx, name, DependedUnit(name))
		var remote *machine1.RemoteError
		if !errors.As(err, &remote) || remote.Name != destructive {
			return s, err
		}
		// It may have ended since.
		waited, failed := c.awaitEnded(ctx, name)
		switch {
		case failed != nil:
			return nil, fmt.Errorf("cannot start %q: %w", name, failed)
		case !waited:
			return nil, err
		}
	}
}

// destructive is PID 1's answer if it is about to do the opposite.
const destructive = "org.freedesktop.systemd1.TransactionIsDestructive"

const (
	// endedLimit is how long the unit that stands for a machine may take to stop.
	endedLimit = 150 * time.Second
	endedPause = 50 * time.Millisecond
)

// awaitEnded waits, if the unit that stands for a machine is up and the machine
// is not, until that is down or the machine is back, as after a reboot.
func (c *Client) awaitEnded(ctx context.Context, name string) (waited bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, endedLimit)
	defer cancel()
	for ; ; waited = true {
		ending, err := c.isEnding(ctx, name)
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return waited, fmt.Errorf("%s is still there, of an earlier machine that has ended: %w", DependedUnit(name), machine1.ErrTimeout)
		case ctx.Err() != nil:
			return waited, ctx.Err()
		case err != nil, !ending:
			return waited, err
		}
		select {
		case <-time.After(endedPause):
		case <-ctx.Done():
		}
	}
}

// isEnding reports whether the unit that stands for a machine is about to be
// stopped, or should be.
func (c *Client) isEnding(ctx context.Context, name string) (bool, error) {
	state, err := c.activeState(ctx, DependedUnit(name))
	switch {
	case err != nil:
		return false, err
	case state == "deactivating":
		return true, nil
	case state != "active":
		return false, nil
	}
	m, err := c.Machine(ctx, name)
	if isGone(err) {
		return true, nil
	}
	if err != nil || m.State == machine1.StateClosing {
		return err == nil, err
	}
	busy, _, err := c.jobAndState(ctx, DependedUnit(name))
	return busy, err
}
