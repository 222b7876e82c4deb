package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

// List returns the machines there are, sorted by name. The host's own is among
// them, under the name machine1.Host.
func (c *Client) List(ctx context.Context) ([]machine1.ListedMachine, error) {
	var rows []machine1.ListedMachine
	if err := c.ask(ctx, "ListMachines", nil, &rows); err != nil {
		return nil, fmt.Errorf("cannot list machines: %w", err)
	}
	slices.SortFunc(rows, func(a, b machine1.ListedMachine) int { return strings.Compare(a.Name, b.Name) })
	return rows, nil
}

// Machine returns what there is to know about the machine called name.
func (c *Client) Machine(ctx context.Context, name string) (Machine, error) {
	properties, err := c.MachineProperties(ctx, name)
	if err != nil {
		return Machine{}, err
	}
	return machineOf(properties), nil
}

// Addresses returns the addresses of the machine's network, best first.
// ErrNoPrivateNetworking says that it uses the host's.
func (c *Client) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var rows []machine1.Address
	if err := c.ask(ctx, "GetMachineAddresses", []any{name}, &rows); err != nil {
		return nil, fmt.Errorf("cannot get the addresses of %q: %w", name, err)
	}
	return addrs(rows), nil
}

// OSRelease returns the fields of the machine's os-release file, such as "ID"
// and "VERSION_ID".
func (c *Client) OSRelease(ctx context.Context, name string) (map[string]string, error) {
	var fields map[string]string
	if err := c.ask(ctx, "GetMachineOSRelease", []any{name}, &fields); err != nil {
		return nil, fmt.Errorf("cannot get the operating system of %q: %w", name, err)
	}
	return fields, nil
}

// UIDShift returns the UID of the host that is the machine's root, 0 if the
// machine has no user namespace.
func (c *Client) UIDShift(ctx context.Context, name string) (uint32, error) {
	var shift uint32
	if err := c.ask(ctx, "GetMachineUIDShift", []any{name}, &shift); err != nil {
		return 0, fmt.Errorf("cannot get the UID shift of %q: %w", name, err)
	}
	return shift, nil
}

// addrs drops what is no address, a hostile daemon's or a future family's.
func addrs(rows []machine1.Address) []netip.Addr {
	var list []netip.Addr
	for _, row := range rows {
		if addr := row.Addr(); addr.IsValid() {
			list = append(list, addr)
		}
	}
	return list
}
