package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// Unknown is a number of bytes that nobody can tell.
const Unknown = ^uint64(0)

// An Image is a directory, subvolume or file that a machine can be started
// from. Times are zero and numbers are Unknown where nobody can tell.
type Image struct {
	Name     string
	Type     string // "directory", "subvolume", "raw", "block", "mstack"
	Path     string // "" in a list
	ReadOnly bool
	Created  time.Time
	Modified time.Time
	Usage    uint64 // bytes
	Limit    uint64 // bytes; Unknown in a list

	// What no other image shares, in bytes; Unknown in a list.
	UsageExclusive, LimitExclusive uint64
}

// Images returns the images there are, sorted by name. The host's own root is
// among them, under the name machine1.Host.
//
// Reference: org.freedesktop.machine1(5), ListImages.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	var rows []machine1.ListedImage
	if err := c.ask(ctx, "ListImages", nil, &rows); err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	images := make([]Image, 0, len(rows))
	for _, row := range rows {
		images = append(images, Image{
			Name: row.Name, Type: row.Type, ReadOnly: row.ReadOnly,
			Created: timeOf(row.Created), Modified: timeOf(row.Modified),
			Usage: row.Usage, Limit: Unknown, UsageExclusive: Unknown, LimitExclusive: Unknown,
		})
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return images, nil
}

// Image returns what there is to know about the image called name.
//
// Reference: org.freedesktop.machine1(5), GetImage and the Image's properties.
func (c *Client) Image(ctx context.Context, name string) (Image, error) {
	properties, err := c.ImageProperties(ctx, name)
	if err != nil {
		return Image{}, err
	}
	image := Image{Usage: Unknown, Limit: Unknown, UsageExclusive: Unknown, LimitExclusive: Unknown}
	var created, modified uint64
	fields := map[string]any{
		"Name": &image.Name, "Type": &image.Type, "Path": &image.Path, "ReadOnly": &image.ReadOnly,
		"CreationTimestamp": &created, "ModificationTimestamp": &modified,
		"Usage": &image.Usage, "Limit": &image.Limit,
		"UsageExclusive": &image.UsageExclusive, "LimitExclusive": &image.LimitExclusive,
	}
	for _, p := range properties {
		if to, ok := fields[p.Name]; ok {
			_ = dbus.Store([]any{p.Value.Value()}, to)
		}
	}
	image.Created = timeOf(created)
	image.Modified = timeOf(modified)
	return image, nil
}

// HasImage reports whether there is an image called name.
//
// Reference: org.freedesktop.machine1(5), GetImage.
func (c *Client) HasImage(ctx context.Context, name string) (bool, error) {
	var path dbus.ObjectPath
	err := c.ask(ctx, "GetImage", []any{name}, &path)
	if err != nil && !errors.Is(err, machine1.ErrNoSuchImage) {
		return false, fmt.Errorf("cannot find image %q: %w", name, err)
	}
	return err == nil, nil
}
