package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machd"
)

// SetLimits limits what a machine that runs can take of the host, whoever
// started it, if it has a unit of its own. All that o says is set, or nothing:
// an ErrInvalidArgs leaves the limits as they were.
//
// Reference: docs/api.md, SetLimits.
func (c *Client) SetLimits(ctx context.Context, name string, o machd.LimitOptions) error {
	if err := c.tellMachd(ctx, "SetLimits", name, o.Variants()); err != nil {
		return fmt.Errorf("cannot set limits of %q: %w", name, err)
	}
	return nil
}
