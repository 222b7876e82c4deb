package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// AddPorts has ports of the host lead to a machine that runs, or with o.Inward
// services of the host be found at its gateway: all of them, or none. Each is as
// machd.ParsePorts, or machd.ParseInwardPorts, reads it. An error about a port
// that somebody has already names who that is.
//
// Reference: docs/api.md, AddPorts.
func (c *Client) AddPorts(ctx context.Context, name string, ports []string, o machd.PortOptions) error {
	if err := c.tellMachd(ctx, "AddPorts", name, ports, o.Variants()); err != nil {
		return fmt.Errorf("cannot add ports of %q: %w", name, err)
	}
	return nil
}

// RemovePorts takes ports back, all of them or none, and ends the connections
// that go through them.
//
// Reference: docs/api.md, RemovePorts.
func (c *Client) RemovePorts(ctx context.Context, name string, ports []string, o machd.PortOptions) error {
	if err := c.tellMachd(ctx, "RemovePorts", name, ports, o.Variants()); err != nil {
		return fmt.Errorf("cannot remove ports of %q: %w", name, err)
	}
	return nil
}

// Ports tells which ports a machine has, or if name is "" all there are.
//
// Reference: docs/api.md, ListPorts.
func (c *Client) Ports(ctx context.Context, name string) (ports []machd.PortStatus, err error) {
	if err := c.askMachd(ctx, "ListPorts", []any{name}, &ports); err != nil {
		return nil, fmt.Errorf("cannot tell which ports there are: %w", err)
	}
	return ports, nil
}

// Network tells what is known of a machine's network.
//
// Reference: docs/api.md, DescribeNetwork.
func (c *Client) Network(ctx context.Context, name string) (machd.NetworkStatus, error) {
	var told map[string]dbus.Variant
	if err := c.askMachd(ctx, "DescribeNetwork", []any{name}, &told); err != nil {
		return machd.NetworkStatus{}, fmt.Errorf("cannot tell about the network of %q: %w", name, err)
	}
	return machd.NetworkStatusOf(told), nil
}

// Diagnose looks for what is wrong with a machine, or if name is "" with the
// host and all machines, and mends with o.Fix what can be mended without harm.
//
// Reference: docs/api.md, Diagnose.
func (c *Client) Diagnose(ctx context.Context, name string, o machd.DiagnoseOptions) (findings []machd.Finding, err error) {
	if err := c.askMachd(ctx, "Diagnose", []any{name, o.Variants()}, &findings); err != nil {
		if name == "" {
			return nil, fmt.Errorf("cannot diagnose: %w", err)
		}
		return nil, fmt.Errorf("cannot diagnose %q: %w", name, err)
	}
	return findings, nil
}
