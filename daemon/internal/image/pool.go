package image

import (
	"context"

	"github.com/machd/machd/pkg/machine1"
)

// Remove removes the image.
func (s *Store) Remove(ctx context.Context, i Image, keep Settings) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// Rename gives the image another name.
func (s *Store) Rename(ctx context.Context, i Image, newName string) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// Clone copies the image into the pool.
func (s *Store) Clone(ctx context.Context, i Image, newName string, readOnly bool) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// SetReadOnly marks the image.
func (s *Store) SetReadOnly(ctx context.Context, i Image, readOnly bool) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// SetLimit limits the image's size in bytes; Unknown is no limit.
func (s *Store) SetLimit(ctx context.Context, i Image, limit uint64) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// A Pool is the directory new images are made in. Sizes are bytes, Unknown
// where there is no quota.
type Pool struct {
	Path         string
	Usage, Limit uint64
}

// Pool describes the pool.
func (s *Store) Pool(ctx context.Context) (Pool, error) {
	return Pool{Path: machine1.PoolPath, Usage: Unknown, Limit: Unknown}, nil
}

// SetPoolLimit limits the size of all images in the pool together.
func (s *Store) SetPoolLimit(ctx context.Context, limit uint64) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}

// A CleanMode says which images Clean removes.
type CleanMode string

// The modes, as on the bus.
const (
	CleanAll    CleanMode = "all"
	CleanHidden CleanMode = "hidden"
)

// Removed is an image that Clean has removed, and what it alone took on disk
// before, in bytes.
type Removed struct {
	Name  string
	Usage uint64
}

// Clean removes images.
func (s *Store) Clean(ctx context.Context, mode CleanMode, done func(Removed)) error {
	return machine1.Errorf(machine1.ErrNotSupported, "not yet")
}
