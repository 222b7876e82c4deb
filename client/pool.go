package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// A Pool is where the daemon makes images, and how much they take together.
type Pool struct {
	Path  string // "" if there is none
	Usage uint64 // bytes; Unknown where the file system does not count
	Limit uint64 // bytes; Unknown if there is none
}

// Pool returns what there is to know about the image pool.
//
// Reference: org.freedesktop.machine1(5), PoolPath, PoolUsage and PoolLimit.
func (c *Client) Pool(ctx context.Context) (Pool, error) {
	properties, err := c.ManagerProperties(ctx)
	if err != nil {
		return Pool{}, err
	}
	pool := Pool{Usage: Unknown, Limit: Unknown}
	fields := map[string]any{"PoolPath": &pool.Path, "PoolUsage": &pool.Usage, "PoolLimit": &pool.Limit}
	for _, p := range properties {
		if to, ok := fields[p.Name]; ok {
			_ = dbus.Store([]any{p.Value.Value()}, to)
		}
	}
	return pool, nil
}

// SetPoolLimit limits how many bytes all images together may take. Unknown
// takes the limit away. Only btrfs can do that.
//
// Reference: org.freedesktop.machine1(5), SetPoolLimit.
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
//
// Reference: docs/api.md, CleanPool; org.freedesktop.machine1(5), CleanPool.
func (c *Client) CleanPool(ctx context.Context, all bool) ([]RemovedImage, error) {
	mode := "hidden"
	if all {
		mode = "all"
	}
	var removed []RemovedImage
	own := func(pipe dbus.UnixFD) []any { return []any{mode, machd.CleanOptions{Progress: pipe}.Variants()} }
	if err := c.tellLong(ctx, "CleanPool", own, "CleanPool", []any{mode}, &removed); err != nil {
		return nil, fmt.Errorf("cannot clean the image pool: %w", err)
	}
	return removed, nil
}
