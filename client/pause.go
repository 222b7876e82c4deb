package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/machd/machd/pkg/machine1"
)

// Pause has a machine stand still until Resume. What runs a virtual machine
// stops its processors; a container's processes are frozen by PID 1, with the
// unit that is there for the machine alone. ErrNotSupported says that the
// machine has neither.
func (c *Client) Pause(ctx context.Context, name string) error {
	err := c.orInstance(ctx, name, instancePause, func() error { return c.freeze(ctx, name, "FreezeUnit") })
	if err != nil {
		return fmt.Errorf("cannot pause %q: %w", name, err)
	}
	return nil
}

// Resume has a paused machine go on.
func (c *Client) Resume(ctx context.Context, name string) error {
	err := c.orInstance(ctx, name, instanceResume, func() error { return c.freeze(ctx, name, "ThawUnit") })
	if err != nil {
		return fmt.Errorf("cannot resume %q: %w", name, err)
	}
	return nil
}

// PauseStock is Pause as the stock command has it, for what has a control
// socket only. ErrNoControlSocket says that the machine has none.
func (c *Client) PauseStock(ctx context.Context, name string) error {
	return c.instanceOnly(ctx, name, instancePause)
}

// ResumeStock is to Resume what PauseStock is to Pause.
func (c *Client) ResumeStock(ctx context.Context, name string) error {
	return c.instanceOnly(ctx, name, instanceResume)
}

// ErrNoControlSocket says that nothing listens for what is to be done with a
// machine. It is a kind of ErrNotSupported.
var ErrNoControlSocket = machine1.Errorf(machine1.ErrNotSupported, "it has no control socket, as virtual machines of systemd-vmspawn 261 and later do")

func (c *Client) instanceOnly(ctx context.Context, name, method string) error {
	done, err := c.instance(ctx, name, method)
	if err == nil && !done {
		if c.sockets == "" {
			_, err = c.Machine(ctx, name)
		}
		if err == nil {
			err = ErrNoControlSocket
		}
	}
	return err
}

// freeze has PID 1 freeze or thaw the unit of a machine, and so what runs the
// machine as well: nobody can enter a paused machine.
func (c *Client) freeze(ctx context.Context, name, member string) error {
	m, err := c.Machine(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case m.Class == machine1.ClassHost:
		return machine1.Errorf(machine1.ErrNotSupported, "it is the host itself")
	case m.Unit == "":
		return machine1.Errorf(machine1.ErrNotSupported, "it has no unit, and no control socket")
	}
	own, err := c.ownsUnit(ctx, m)
	switch {
	case err != nil:
		return err
	case !own:
		return machine1.Errorf(machine1.ErrNotSupported, "more than the machine runs in %s", m.Unit)
	}
	return c.call(ctx, systemd, systemdManager+"."+member, []any{m.Unit})
}

// ownsUnit reports whether the machine's unit is there for it alone. From 258 on
// systemd-nspawn registers a control group below its unit.
func (c *Client) ownsUnit(ctx context.Context, m Machine) (bool, error) {
	if m.Subgroup == "" {
		return true, nil
	}
	if m.Supervisor == 0 || m.UID != 0 {
		return false, nil
	}
	var main uint32
	err := c.unitProperty(ctx, m.Unit, "org.freedesktop.systemd1.Service", "MainPID", &main)
	if errors.Is(err, machine1.ErrUnknownInterface) || errors.Is(err, machine1.ErrUnknownProperty) {
		// A scope has none, and nobody puts more than a machine into its own.
		return m.Unit == machine1.ScopeName(m.Name) || m.Unit == machine1.EscapeUnit(m.Name)+".scope", nil
	}
	return main == m.Supervisor, err
}
