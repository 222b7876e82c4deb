package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machine1"
)

// VMUnit is the unit that systemd has for a virtual machine, from 256 on.
func VMUnit(name string) string { return "systemd-vmspawn@" + name + ".service" }

// QueueStartVM is QueueStart for a virtual machine.
func (c *Client) QueueStartVM(ctx context.Context, name string) (*Starting, error) {
	if !machine1.ValidMachineName(name) {
		return nil, fmt.Errorf("cannot start %q: not a machine name: %w", name, machine1.ErrInvalidArgs)
	}
	if err := c.mayStart(ctx, name, VMUnit(name)); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	return c.queueUnit(ctx, name, VMUnit(name))
}

// EnableVM is EnableStock for a virtual machine.
func (c *Client) EnableVM(ctx context.Context, name string) ([]Link, error) {
	return c.enable(ctx, name, VMUnit(name))
}

// DisableVM is DisableStock for a virtual machine.
func (c *Client) DisableVM(ctx context.Context, name string) ([]Link, error) {
	return c.disable(ctx, name, VMUnit(name))
}
