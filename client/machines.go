package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// List returns the machines there are, sorted by name. The host's own is among
// them, under the name machine1.Host.
//
// Reference: org.freedesktop.machine1(5), ListMachines.
func (c *Client) List(ctx context.Context) ([]machine1.ListedMachine, error) {
	var rows []machine1.ListedMachine
	if err := c.ask(ctx, "ListMachines", nil, &rows); err != nil {
		return nil, fmt.Errorf("cannot list machines: %w", err)
	}
	slices.SortFunc(rows, func(a, b machine1.ListedMachine) int { return strings.Compare(a.Name, b.Name) })
	return rows, nil
}

// Machine returns what there is to know about the machine called name.
//
// Reference: org.freedesktop.machine1(5), GetMachine and the Machine's
// properties.
func (c *Client) Machine(ctx context.Context, name string) (Machine, error) {
	properties, err := c.MachineProperties(ctx, name)
	if err != nil {
		return Machine{}, err
	}
	return machineOf(properties), nil
}

// Addresses returns the addresses of the machine's network, best first.
// ErrNoPrivateNetworking says that it uses the host's.
//
// Reference: org.freedesktop.machine1(5), GetMachineAddresses.
func (c *Client) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var rows []machine1.Address
	if err := c.ask(ctx, "GetMachineAddresses", []any{name}, &rows); err != nil {
		return nil, fmt.Errorf("cannot get the addresses of %q: %w", name, err)
	}
	return addrs(rows), nil
}

// OSRelease returns the fields of the machine's os-release file, such as "ID"
// and "VERSION_ID". ErrFileNotFound says that it has none.
//
// Reference: org.freedesktop.machine1(5), GetMachineOSRelease.
func (c *Client) OSRelease(ctx context.Context, name string) (map[string]string, error) {
	var fields map[string]string
	if err := c.ask(ctx, "GetMachineOSRelease", []any{name}, &fields); err != nil {
		return nil, fmt.Errorf("cannot get the operating system of %q: %w", name, err)
	}
	return fields, nil
}

// UIDShift returns the UID of the host that is the machine's root, 0 if the
// machine has no user namespace. ErrNotSupported says that its users are not all
// as far from those of the host: see HostUID.
//
// Reference: org.freedesktop.machine1(5), GetMachineUIDShift.
func (c *Client) UIDShift(ctx context.Context, name string) (uint32, error) {
	var shift uint32
	if err := c.ask(ctx, "GetMachineUIDShift", []any{name}, &shift); err != nil {
		return 0, fmt.Errorf("cannot get the UID shift of %q: %w", name, err)
	}
	return shift, nil
}

// MachineByPID returns the name of the machine that a process of the host
// belongs to; 0 is the caller itself. ErrNoMachineForPID says that it belongs to
// none.
//
// Reference: org.freedesktop.machine1(5), GetMachineByPID.
func (c *Client) MachineByPID(ctx context.Context, pid uint32) (string, error) {
	var path dbus.ObjectPath
	if err := c.ask(ctx, "GetMachineByPID", []any{pid}, &path); err != nil {
		return "", fmt.Errorf("cannot find the machine of process %d: %w", pid, err)
	}
	name, ok := machine1.MachineName(path)
	if !ok {
		return "", fmt.Errorf("cannot find the machine of process %d: %s is no machine: %w", pid, path, machine1.ErrUnknownObject)
	}
	return name, nil
}

// SSHInfo returns how ssh(1) reaches a machine, and the file of the host with
// the key for that: "vsock/4711", "/run/systemd/…". Who registered the machine
// said so; it is an ErrFileNotFound if he did not.
//
// Reference: org.freedesktop.machine1(5), GetMachineSSHInfo.
func (c *Client) SSHInfo(ctx context.Context, name string) (address, privateKeyPath string, err error) {
	if err := c.ask(ctx, "GetMachineSSHInfo", []any{name}, &address, &privateKeyPath); err != nil {
		return "", "", fmt.Errorf("cannot get how %q is reached by ssh: %w", name, err)
	}
	return address, privateKeyPath, nil
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
