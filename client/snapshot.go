package client

import (
	"context"
	"fmt"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// A Snapshot is an image as it once was.
type Snapshot struct {
	Image   string
	Name    string
	Created time.Time // zero if nobody can tell
	Usage   uint64    // bytes on disk with what it shares; Unknown if nobody can tell
	Kind    string    // machd.SnapshotBtrfs, SnapshotReflink or SnapshotCopy: what it shares with the image
}

// CreateSnapshot keeps an image as it is, which may be in use: then it is kept as
// it would be after a crash. It takes machd, as all that is about snapshots does.
//
// Reference: docs/api.md, CreateSnapshot.
func (c *Client) CreateSnapshot(ctx context.Context, image, snapshot string) error {
	if err := c.tellMachd(ctx, "CreateSnapshot", image, snapshot, noOptions); err != nil {
		return fmt.Errorf("cannot make a snapshot of image %q: %w", image, err)
	}
	return nil
}

// Snapshots returns the snapshots of an image, or of all images if it is "",
// sorted by image and name.
//
// Reference: docs/api.md, ListSnapshots.
func (c *Client) Snapshots(ctx context.Context, image string) ([]Snapshot, error) {
	var rows []machd.Snapshot
	if err := c.askMachd(ctx, "ListSnapshots", []any{image}, &rows); err != nil {
		return nil, fmt.Errorf("cannot list snapshots: %w", err)
	}
	snapshots := make([]Snapshot, 0, len(rows))
	for _, row := range rows {
		snapshots = append(snapshots, Snapshot{row.Image, row.Name, timeOf(row.Created), row.Usage, row.Kind})
	}
	return snapshots, nil
}

// RestoreSnapshot makes an image, which must not be in use, what it was when the
// snapshot was made. What it was last is a snapshot from then on, whose name it
// returns; that is "" if the image was gone.
//
// Reference: docs/api.md, RestoreSnapshot.
func (c *Client) RestoreSnapshot(ctx context.Context, image, snapshot string) (before string, err error) {
	method := machd.ManagerInterface + ".RestoreSnapshot"
	err = c.lacking(ctx, c.call(ctx, machined, method, []any{image, snapshot, noOptions}, &before))
	if err != nil {
		return "", fmt.Errorf("cannot restore image %q: %w", image, err)
	}
	return before, nil
}

// RemoveSnapshot removes a snapshot.
//
// Reference: docs/api.md, RemoveSnapshot.
func (c *Client) RemoveSnapshot(ctx context.Context, image, snapshot string) error {
	if err := c.tellMachd(ctx, "RemoveSnapshot", image, snapshot, noOptions); err != nil {
		return fmt.Errorf("cannot remove snapshot %q of image %q: %w", snapshot, image, err)
	}
	return nil
}
