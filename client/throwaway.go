package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/pkg/machd"
)

// ThrowawayImage returns the path of the image below the root of a machine that
// is thrown away with it, by its unit; "" if it has no such root. The image is
// read as long as the machine runs, unless it is a subvolume, of which there is a
// snapshot then.
func (c *Client) ThrowawayImage(ctx context.Context, unit string) (string, error) {
	var commands []struct {
		Path                                               string
		Argv                                               []string
		IgnoreFailure                                      bool
		Started, StartedMonotonic, Exited, ExitedMonotonic uint64
		PID                                                uint32
		Code, Status                                       int32
	}
	if err := c.unitProperty(ctx, unit, serviceInterface, "ExecStart", &commands); err != nil {
		return "", fmt.Errorf("cannot get the command of %s: %w", unit, err)
	}
	for _, command := range commands {
		if image := machd.ThrowawayImage(command.Argv); image != "" {
			return image, nil
		}
	}
	return "", nil
}
