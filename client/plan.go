package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machd"
)

// PlanStart tells what Launch would do: in which unit the machine would run, and
// what would be different from the machine of that name that runs, or if none
// does from one that the host's template starts. It changes nothing. It fails
// where Launch would refuse to begin.
//
// Reference: docs/api.md, PlanStart.
func (c *Client) PlanStart(ctx context.Context, name string, o machd.StartOptions) (unit string, changes []machd.Change, err error) {
	if err := c.askMachd(ctx, "PlanStart", []any{name, o.Variants()}, &unit, &changes); err != nil {
		return "", nil, fmt.Errorf("cannot plan to start %q: %w", name, err)
	}
	return unit, changes, nil
}
