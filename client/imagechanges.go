package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// CloneImage makes a copy of an image under a new name, cheaply where the file
// system can. It returns when the copy is whole.
//
// Reference: docs/api.md, CloneImage; org.freedesktop.machine1(5), CloneImage.
func (c *Client) CloneImage(ctx context.Context, name, newName string, readOnly bool) error {
	own := func(pipe dbus.UnixFD) []any {
		return []any{name, newName, machd.CloneOptions{ReadOnly: readOnly, Progress: pipe}.Variants()}
	}
	if err := c.tellLong(ctx, "CloneImage", own, "CloneImage", []any{name, newName, readOnly}); err != nil {
		return fmt.Errorf("cannot clone image %q: %w", name, err)
	}
	return nil
}

// RenameImage gives an image another name, and its settings with it; with machd
// also its snapshots, what is saved for its unit, and that it starts with the
// host.
//
// Reference: org.freedesktop.machine1(5), RenameImage.
func (c *Client) RenameImage(ctx context.Context, name, newName string) error {
	if err := c.tell(ctx, "RenameImage", []any{name, newName}); err != nil {
		return fmt.Errorf("cannot rename image %q: %w", name, err)
	}
	return nil
}

// RemoveImage removes an image and everything that belongs to it, settings
// that an administrator wrote below /etc/systemd/nspawn included; with machd also
// what is saved for its unit, and that it starts with the host. Snapshots stay.
//
// Reference: docs/api.md, RemoveImage; org.freedesktop.machine1(5), RemoveImage.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	own := func(pipe dbus.UnixFD) []any {
		return []any{name, machd.RemoveOptions{Settings: true, Progress: pipe}.Variants()}
	}
	if err := c.tellLong(ctx, "RemoveImage", own, "RemoveImage", []any{name}); err != nil {
		return fmt.Errorf("cannot remove image %q: %w", name, err)
	}
	return nil
}

// RemoveImageKeepingSettings is RemoveImage without what is below
// /etc/systemd. It needs machd: ErrNotSupported says that the daemon is
// another one.
//
// Reference: docs/api.md, RemoveImage.
func (c *Client) RemoveImageKeepingSettings(ctx context.Context, name string) error {
	err := c.following(ctx, func(ctx context.Context, pipe dbus.UnixFD) error {
		return c.tellMachd(ctx, "RemoveImage", name, machd.RemoveOptions{Progress: pipe}.Variants())
	})
	if err != nil {
		return fmt.Errorf("cannot remove image %q: %w", name, err)
	}
	return nil
}

// SetImageReadOnly makes an image read-only, or writable again.
//
// Reference: org.freedesktop.machine1(5), MarkImageReadOnly.
func (c *Client) SetImageReadOnly(ctx context.Context, name string, readOnly bool) error {
	if err := c.tell(ctx, "MarkImageReadOnly", []any{name, readOnly}); err != nil {
		return fmt.Errorf("cannot change image %q: %w", name, err)
	}
	return nil
}

// SetImageLimit limits how many bytes an image may take. Unknown takes the
// limit away. Only btrfs can do that.
//
// Reference: org.freedesktop.machine1(5), SetImageLimit.
func (c *Client) SetImageLimit(ctx context.Context, name string, bytes uint64) error {
	if err := c.tell(ctx, "SetImageLimit", []any{name, bytes}); err != nil {
		return fmt.Errorf("cannot limit image %q: %w", name, err)
	}
	return nil
}
