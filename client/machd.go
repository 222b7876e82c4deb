package client

import (
	"context"
	"errors"
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
	if err := c.inquire(ctx, "org.freedesktop.DBus.Introspectable.Introspect", nil, &text); err != nil {
		if errors.Is(err, machine1.ErrServiceUnknown) {
			return false, err // none runs, which says it all
		}
		return false, fmt.Errorf("cannot tell which machine manager runs: %w", err)
	}
	return strings.Contains(text, `"`+machd.ManagerInterface+`"`), nil
}

// tellMachd calls a method that only machd has.
func (c *Client) tellMachd(ctx context.Context, member string, in ...any) error {
	return c.askMachd(ctx, member, in)
}

// askMachd calls a method that only machd has and puts the reply's values into
// out.
func (c *Client) askMachd(ctx context.Context, member string, in []any, out ...any) error {
	return c.lacking(ctx, c.call(ctx, machined, machd.ManagerInterface+"."+member, in, out...))
}

// lacking recognises, among the errors of a method of machd's own, that the
// daemon is not machd. Only an error costs the question.
func (c *Client) lacking(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, machine1.ErrUnknownMethod), errors.Is(err, machine1.ErrUnknownInterface):
	case errors.Is(err, machine1.ErrAccessDenied):
		// So says systemd's own bus policy of methods that it does not know.
		if ours, askErr := c.IsMachd(ctx); askErr != nil || ours {
			return err
		}
	default:
		return err
	}
	return errNotMachd
}

var errNotMachd = machine1.Errorf(machine1.ErrNotSupported, "the machine manager is systemd-machined, which cannot do that; machd can")

// either makes a call of machd's own, and the stock one where the daemon is not
// machd or asStock says so.
func (c *Client) either(ctx context.Context, asStock bool, own, stock func() error) error {
	if asStock {
		return stock()
	}
	ours, err := c.IsMachd(ctx)
	switch {
	case err != nil:
		return err
	case ours:
		return own()
	}
	return stock()
}
