package image

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/envfile"
)

// Metadata is what an image says about itself. What it does not say, or says
// in a way that cannot be read, is zero.
type Metadata struct {
	Hostname    string
	MachineID   [16]byte
	MachineInfo envfile.List // /etc/machine-info, in order
	OSRelease   envfile.List // os-release, in order
}

// Metadata reads what i says about itself. It fails with EBUSY while a machine
// runs from the image, and with EOPNOTSUPP for a stack of layers.
//
// Reference: discover-image.c, image_read_metadata.
func (s *Store) Metadata(ctx context.Context, i Image) (Metadata, error) {
	return Metadata{}, errors.New("not yet")
}
