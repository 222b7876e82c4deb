package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machd"
)

// CloneImage makes a copy of an image under a new name, cheaply where the file
// system can. It returns when the copy is whole.
func (c *Client) CloneImage(ctx context.Context, name, newName string, readOnly bool) error {
	if err := c.tell(ctx, "CloneImage", []any{name, newName, readOnly}); err != nil {
		return fmt.Errorf("cannot clone image %q: %w", name, err)
	}
	return nil
}

// RenameImage gives an image another name, and its settings with it.
func (c *Client) RenameImage(ctx context.Context, name, newName string) error {
	if err := c.tell(ctx, "RenameImage", []any{name, newName}); err != nil {
		return fmt.Errorf("cannot rename image %q: %w", name, err)
	}
	return nil
}

// RemoveImage removes an image and everything that belongs to it, settings
// that an administrator wrote below /etc/systemd/nspawn included.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	if err := c.tell(ctx, "RemoveImage", []any{name}); err != nil {
		return fmt.Errorf("cannot remove image %q: %w", name, err)
	}
	return nil
}

// RemoveImageKeepingSettings is RemoveImage without what is below
// /etc/systemd/nspawn. It needs machd: ErrNotSupported says that the daemon is
// another one.
func (c *Client) RemoveImageKeepingSettings(ctx context.Context, name string) error {
	if err := c.tellMachd(ctx, "RemoveImage", name, machd.RemoveOptions{}.Variants()); err != nil {
		return fmt.Errorf("cannot remove image %q: %w", name, err)
	}
	return nil
}

// SetImageReadOnly makes an image read-only, or writable again.
func (c *Client) SetImageReadOnly(ctx context.Context, name string, readOnly bool) error {
	if err := c.tell(ctx, "MarkImageReadOnly", []any{name, readOnly}); err != nil {
		return fmt.Errorf("cannot change image %q: %w", name, err)
	}
	return nil
}

// SetImageLimit limits how many bytes an image may take. Unknown takes the
// limit away. Only btrfs can do that.
func (c *Client) SetImageLimit(ctx context.Context, name string, bytes uint64) error {
	if err := c.tell(ctx, "SetImageLimit", []any{name, bytes}); err != nil {
		return fmt.Errorf("cannot limit image %q: %w", name, err)
	}
	return nil
}

// SetPoolLimit is SetImageLimit for all images together.
func (c *Client) SetPoolLimit(ctx context.Context, bytes uint64) error {
	if err := c.tell(ctx, "SetPoolLimit", []any{bytes}); err != nil {
		return fmt.Errorf("cannot limit the image pool: %w", err)
	}
	return nil
}

// A RemovedImage is one that CleanPool has removed.
type RemovedImage struct {
	Name  string
	Freed uint64 // bytes that no other image shares, Unknown if nobody can tell
}

// CleanPool removes all hidden images, or with all every image there is. What
// is in use stays.
func (c *Client) CleanPool(ctx context.Context, all bool) ([]RemovedImage, error) {
	mode := "hidden"
	if all {
		mode = "all"
	}
	var removed []RemovedImage
	if err := c.tell(ctx, "CleanPool", []any{mode}, &removed); err != nil {
		return nil, fmt.Errorf("cannot clean the image pool: %w", err)
	}
	return removed, nil
}
