package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// A MachineUsage is what one machine takes of the host.
type MachineUsage struct {
	Name string
	machd.Usage
}

// Usage returns what each machine takes of the host, sorted by name. The host
// itself is not among them. It takes machd.
//
// Reference: docs/api.md, ListUsage.
func (c *Client) Usage(ctx context.Context) ([]MachineUsage, error) {
	var machines map[string]map[string]dbus.Variant
	if err := c.askMachd(ctx, "ListUsage", nil, &machines); err != nil {
		return nil, fmt.Errorf("cannot tell what machines take: %w", err)
	}
	list := make([]MachineUsage, 0, len(machines))
	for name, numbers := range machines {
		list = append(list, MachineUsage{name, machd.UsageOf(numbers)})
	}
	slices.SortFunc(list, func(a, b MachineUsage) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// MachineUsage returns what one machine takes of the host. It takes machd.
//
// Reference: docs/api.md, GetUsage.
func (c *Client) MachineUsage(ctx context.Context, name string) (machd.Usage, error) {
	var numbers map[string]dbus.Variant
	if err := c.askMachd(ctx, "GetUsage", []any{name}, &numbers); err != nil {
		return machd.Usage{}, fmt.Errorf("cannot tell what %q takes: %w", name, err)
	}
	return machd.UsageOf(numbers), nil
}
