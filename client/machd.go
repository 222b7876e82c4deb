package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// IsMachd reports whether the daemon is machd, which can do more than the
// interface it shares with systemd-machined.
func (c *Client) IsMachd(ctx context.Context) (bool, error) {
	// Asking for a method that is not there would not tell: where systemd's own
	// bus policy rules, such a call is refused like one without permission.
	var text string
	if err := c.call(ctx, machined, "org.freedesktop.DBus.Introspectable.Introspect", nil, &text); err != nil {
		return false, fmt.Errorf("cannot tell which machine manager runs: %w", err)
	}
	return strings.Contains(text, `"`+machd.ManagerInterface+`"`), nil
}

// tellMachd calls a method that only machd has.
func (c *Client) tellMachd(ctx context.Context, member string, in ...any) error {
	ours, err := c.IsMachd(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return machine1.Errorf(machine1.ErrNotSupported, "the machine manager is systemd-machined, which cannot do that; machd can")
	}
	return c.call(ctx, machined, machd.ManagerInterface+"."+member, in)
}

// tellEither calls machd's own method, and the stock one where the daemon is
// not machd.
func (c *Client) tellEither(ctx context.Context, member string, in []any, stock string, stockIn []any) error {
	ours, err := c.IsMachd(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return c.tell(ctx, stock, stockIn)
	}
	return c.call(ctx, machined, machd.ManagerInterface+"."+member, in)
}
