package image

import (
	"context"

	"github.com/machd/machd/daemon/internal/dissect"
)

// readDisk looks into a disk image. ctx must have a deadline.
func readDisk(ctx context.Context, path string) (Metadata, error) {
	d, err := dissect.Describe(ctx, path)
	if err != nil {
		return Metadata{}, err
	}
	return metadataOf(d), nil
}

func metadataOf(d dissect.Description) Metadata {
	return Metadata{
		Hostname:    parseHostname(d.Hostname),
		MachineID:   parseMachineID(d.MachineID),
		MachineInfo: parseAssignments(d.MachineInfo),
		OSRelease:   parseAssignments(d.OSRelease),
	}
}
