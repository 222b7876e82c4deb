package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

const (
	systemdName      = "org.freedesktop.systemd1"
	systemdPath      = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager   = "org.freedesktop.systemd1.Manager"
	unitInterface    = "org.freedesktop.systemd1.Unit"
	serviceInterface = "org.freedesktop.systemd1.Service"
	scopeInterface   = "org.freedesktop.systemd1.Scope"
	sliceInterface   = "org.freedesktop.systemd1.Slice"

	propertiesChanged = "org.freedesktop.DBus.Properties.PropertiesChanged"
	unitRemoved       = systemdManager + ".UnitRemoved"
	jobRemoved        = systemdManager + ".JobRemoved"
)

// A Process is one process of a unit.
type Process struct {
	Cgroup  string // path in the hierarchy
	PID     uint32
	Command string // its command line
}

// UnitProcesses returns the processes of a unit and the control group that the
// unit is. A unit that is not loaded has none.
func (c *Client) UnitProcesses(ctx context.Context, unit string) (cgroup string, processes []Process, err error) {
	iface := serviceInterface
	switch path.Ext(unit) {
	case ".scope":
		iface = scopeInterface
	case ".slice":
		iface = sliceInterface
	}
	// PID 1 takes its time for each, so neither waits for the other.
	var asked sync.WaitGroup
	var unlisted error
	asked.Go(func() {
		unlisted = c.call(ctx, systemd, systemdManager+".GetUnitProcesses", []any{unit}, &processes)
	})
	err = c.unitProperty(ctx, unit, iface, "ControlGroup", &cgroup)
	asked.Wait()
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("cannot get the control group of %s: %w", unit, err)
	case cgroup == "":
		return "", nil, nil
	case unlisted != nil:
		return "", nil, fmt.Errorf("cannot get the processes of %s: %w", unit, unlisted)
	}
	return cgroup, processes, nil
}

func unitPath(unit string) dbus.ObjectPath {
	return systemdPath + "/unit/" + dbus.ObjectPath(machine1.EscapeLabel(unit))
}

// alreadySubscribed is PID 1's answer to the second of two subscriptions.
const alreadySubscribed = "org.freedesktop.systemd1.AlreadySubscribed"

// subscribeUnits makes PID 1 send signals: it sends none while nobody asks.
func (c *Client) subscribeUnits(ctx context.Context) error {
	err := c.call(ctx, systemd, systemdManager+".Subscribe", nil)
	var remote *machine1.RemoteError
	if errors.As(err, &remote) && remote.Name == alreadySubscribed {
		return nil
	}
	return err
}

// unitProperty reads one property. PID 1 answers for units that are not
// loaded too, with defaults.
func (c *Client) unitProperty(ctx context.Context, unit, iface, property string, to any) error {
	var value dbus.Variant
	target := bus.Target{Name: systemdName, Path: unitPath(unit)}
	if err := c.call(ctx, target, propertiesGet, []any{iface, property}, &value); err != nil {
		return err
	}
	return dbus.Store([]any{value.Value()}, to)
}

// activeState returns a unit's state, "inactive" for one that is not loaded.
func (c *Client) activeState(ctx context.Context, unit string) (string, error) {
	var state string
	err := c.unitProperty(ctx, unit, unitInterface, "ActiveState", &state)
	if errors.Is(err, machine1.ErrNoSuchUnit) {
		return "inactive", nil
	}
	return state, err
}

// waitInactive returns once nothing of the unit runs. A host without systemd
// has no units, and nothing to wait for.
func (c *Client) waitInactive(ctx context.Context, unit string) error {
	sub, err := c.subscribe(ctx, systemdName,
		wanted{signal: propertiesChanged, path: unitPath(unit), arg0: unitInterface},
		wanted{signal: unitRemoved, path: systemdPath, arg0: unit})
	if err != nil {
		return err
	}
	defer sub.close()
	if err := c.subscribeUnits(ctx); errors.Is(err, machine1.ErrServiceUnknown) {
		return nil
	}
	for {
		state, err := c.activeState(ctx, unit)
		if err != nil {
			return err
		}
		if state == "inactive" || state == "failed" {
			return nil
		}
		if _, err := sub.next(ctx); err != nil {
			return err
		}
	}
}

// Invocation returns what selects the log lines of a unit's present run, 32 hex
// digits, or "" if it has not been started.
func (c *Client) Invocation(ctx context.Context, unit string) (string, error) {
	var id []byte
	if err := c.unitProperty(ctx, unit, unitInterface, "InvocationID", &id); err != nil {
		return "", fmt.Errorf("cannot ask about %s: %w", unit, err)
	}
	return hex.EncodeToString(id), nil
}

// SystemdVersion returns which systemd runs as PID 1 or, on a user's bus, as the
// user's service manager: in its own words, as "257.13-1~deb13u1".
func (c *Client) SystemdVersion(ctx context.Context) (string, error) {
	var value dbus.Variant
	if err := c.call(ctx, systemd, propertiesGet, []any{systemdManager, "Version"}, &value); err != nil {
		return "", fmt.Errorf("cannot ask for the version of systemd: %w", err)
	}
	version, _ := value.Value().(string)
	return version, nil
}
