package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// A Bind is a directory or a file of the host that a machine is to see.
type Bind struct {
	Source      string // absolute path on the host
	Destination string // absolute path in the machine; "" is Source
	ReadOnly    bool
	MakeDir     bool // make Destination if it is not there
	// Stock has it done by the method that systemd-machined has as well, which
	// takes the right to manage machines: an administrator may have granted that
	// before there was machd.
	Stock bool
}

// Bind shows a directory or a file of the host in a running container,
// until the container ends or Unbind. With machd this works in containers with
// user namespaces too, where users see the files as if they were theirs;
// systemd-machined answers ErrNotSupported for those.
//
// Reference: docs/api.md, BindMount; org.freedesktop.machine1(5),
// BindMountMachine.
func (c *Client) Bind(ctx context.Context, name string, b Bind) error {
	options := machd.BindOptions{ReadOnly: b.ReadOnly, MakeDir: b.MakeDir}
	err := c.either(ctx, b.Stock, func() error {
		return c.call(ctx, machined, machd.ManagerInterface+".BindMount", []any{name, b.Source, b.Destination, options.Variants()})
	}, func() error {
		return c.tell(ctx, "BindMountMachine", []any{name, b.Source, b.Destination, b.ReadOnly, b.MakeDir})
	})
	if err != nil {
		return fmt.Errorf("cannot mount %s in %q: %w", b.Source, name, err)
	}
	return nil
}

// Unbind takes away what Bind has put at destination. It needs machd:
// ErrNotSupported says that the daemon is another one.
//
// Reference: docs/api.md, Unbind.
func (c *Client) Unbind(ctx context.Context, name, destination string) error {
	if err := c.tellMachd(ctx, "Unbind", name, destination, map[string]dbus.Variant{}); err != nil {
		return fmt.Errorf("cannot take %s away from %q: %w", destination, name, err)
	}
	return nil
}

// A Copy is a file or a tree to copy between the host and a container.
type Copy struct {
	Source      string // absolute path
	Destination string // absolute path on the other side; "" is Source
	Replace     bool   // replace what is there
	// Flat gives every file to root of the side it comes to, as
	// systemd-machined does where the machine has a user namespace. Otherwise
	// machd keeps the owners, as the machine's users.
	Flat bool
	// Stock is Bind's. Such a copy is flat, and tells no progress.
	Stock bool
}

// CopyTo copies from the host into a running container. What is there already
// is kept unless Replace is set.
//
// Reference: docs/api.md, CopyTo; org.freedesktop.machine1(5), CopyToMachine and
// CopyToMachineWithFlags.
func (c *Client) CopyTo(ctx context.Context, name string, x Copy) error {
	return c.copy(ctx, "CopyTo", name, x)
}

// CopyFrom copies from a running container to the host, likewise.
//
// Reference: docs/api.md, CopyFrom; org.freedesktop.machine1(5), CopyFromMachine and
// CopyFromMachineWithFlags.
func (c *Client) CopyFrom(ctx context.Context, name string, x Copy) error {
	return c.copy(ctx, "CopyFrom", name, x)
}

func (c *Client) copy(ctx context.Context, member, name string, x Copy) error {
	const flagReplace = uint64(1)
	options := machd.CopyOptions{Replace: x.Replace}
	if x.Flat {
		options.Ownership = machd.OwnershipFlat
	}
	stock, in := member+"Machine", []any{name, x.Source, x.Destination}
	if x.Replace {
		stock, in = stock+"WithFlags", append(in, flagReplace)
	}
	err := c.either(ctx, x.Stock, func() error {
		return c.following(ctx, func(ctx context.Context, pipe dbus.UnixFD) error {
			options.Progress = pipe
			return c.call(ctx, machined, machd.ManagerInterface+"."+member, []any{name, x.Source, x.Destination, options.Variants()})
		})
	}, func() error { return c.tell(ctx, stock, in) })
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", x.Source, err)
	}
	return nil
}
