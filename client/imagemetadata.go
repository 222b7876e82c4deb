package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machine1"
)

// ImageHostname returns what /etc/hostname of an image says, "" if there is no
// such file.
//
// Reference: org.freedesktop.machine1(5), GetImageHostname.
func (c *Client) ImageHostname(ctx context.Context, name string) (string, error) {
	var hostname string
	if err := c.askImage(ctx, "GetImageHostname", name, &hostname); err != nil {
		return "", err
	}
	return hostname, nil
}

// ImageMachineID returns the ID in /etc/machine-id of an image, which its first
// boot made; zero if there is none yet.
//
// Reference: org.freedesktop.machine1(5), GetImageMachineID.
func (c *Client) ImageMachineID(ctx context.Context, name string) (id [16]byte, err error) {
	var bytes []byte
	if err := c.askImage(ctx, "GetImageMachineID", name, &bytes); err != nil {
		return id, err
	}
	if len(bytes) != 0 && len(bytes) != len(id) {
		return id, fmt.Errorf("cannot read image %q: a machine ID of %d bytes: %w", name, len(bytes), machine1.ErrInvalidArgs)
	}
	copy(id[:], bytes)
	return id, nil
}

// ImageMachineInfo returns the fields of /etc/machine-info of an image, such as
// "PRETTY_HOSTNAME"; none if there is no such file.
//
// Reference: org.freedesktop.machine1(5), GetImageMachineInfo.
func (c *Client) ImageMachineInfo(ctx context.Context, name string) (map[string]string, error) {
	var fields map[string]string
	if err := c.askImage(ctx, "GetImageMachineInfo", name, &fields); err != nil {
		return nil, err
	}
	return fields, nil
}

// ImageOSRelease returns the fields of an image's os-release file, such as "ID"
// and "VERSION_ID"; none if there is no such file.
//
// Reference: org.freedesktop.machine1(5), GetImageOSRelease.
func (c *Client) ImageOSRelease(ctx context.Context, name string) (map[string]string, error) {
	var fields map[string]string
	if err := c.askImage(ctx, "GetImageOSRelease", name, &fields); err != nil {
		return nil, err
	}
	return fields, nil
}

// askImage asks what is in the files of an image. A disk image is mounted for
// that, which may take seconds.
func (c *Client) askImage(ctx context.Context, member, name string, out any) error {
	if err := c.ask(ctx, member, []any{name}, out); err != nil {
		return fmt.Errorf("cannot read image %q: %w", name, err)
	}
	return nil
}
