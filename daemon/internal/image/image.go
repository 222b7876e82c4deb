// Package image is the images machines can be started from: directories, btrfs
// subvolumes, raw files, block devices, stacks of layers and versions of all
// these in the search path, and the host itself as ".host". It finds, describes
// and changes them, under the locks that other programs take too. It knows
// neither the bus nor which machines run.
package image

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A Type says what an image is on disk. The strings go over the bus.
type Type string

// The types of images this package knows.
const (
	TypeDirectory Type = "directory"
	TypeSubvolume Type = "subvolume"
	TypeRaw       Type = "raw"
	TypeBlock     Type = "block"
	TypeMStack    Type = "mstack"
)

// Unknown stands for a usage or limit that is not known, as on the bus.
const Unknown uint64 = math.MaxUint64

// An Image is one image as it was when looked at. Times are microseconds
// since the epoch, 0 when unknown; sizes are bytes, Unknown when unknown.
type Image struct {
	Name     string
	Type     Type
	Path     string // absolute, all symbolic links resolved
	ReadOnly bool

	Created, Modified              uint64
	Usage, Limit                   uint64
	UsageExclusive, LimitExclusive uint64
}

// Host reports whether i is the system this daemon runs on.
func (i Image) Host() bool { return i.Name == machine1.Host || i.Path == "/" }

// Vendor reports whether i belongs to the operating system and so is changed
// by its package manager only.
func (i Image) Vendor() bool { return underUsr(i.Path) }

// Hidden reports whether i is kept for others to be made of, and not shown to
// users by default. Hidden images are always read-only.
func (i Image) Hidden() bool { return isHidden(i.Name) }

const (
	// readLimit is how long a caller waits for the file systems that images
	// are on; one of them may be a network that does not answer.
	readLimit = 10 * time.Second
	// maxReads bounds the threads that hang in such a file system.
	maxReads = 8
)

// A Store is the images in a list of directories. It holds no state besides:
// every call reads the disk. It is safe for concurrent use.
type Store struct {
	cfg   Config
	limit time.Duration
	reads chan struct{} // one token per read that goes on

	changed chan string // directories where a change has ended, for Run
}

// NewStore returns the store of the images that cfg describes.
func NewStore(cfg Config) *Store {
	if cfg.Units == nil {
		cfg.Units = noUnitFiles{}
	}
	return &Store{cfg: cfg, limit: readLimit, reads: make(chan struct{}, maxReads), changed: make(chan string, 1)}
}

// List returns all images sorted by name, the host last. Of several images
// with one name it is the one that Get finds. Entries that cannot be looked at
// are left out.
//
// Reference: discover-image.c, image_discover.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	images, err := within(ctx, s, s.list)
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	return images, nil
}

// Get returns the image called name.
//
// Reference: discover-image.c, image_find.
func (s *Store) Get(ctx context.Context, name string) (Image, error) {
	if !machine1.ValidImageName(name) {
		return Image{}, machine1.Errorf(machine1.ErrInvalidArgs, "Image name '%s' is invalid.", name)
	}
	image, err := within(ctx, s, func(ctx context.Context) (Image, error) { return s.get(ctx, name) })
	if errors.Is(err, machine1.ErrNoSuchImage) {
		return Image{}, err
	}
	if err != nil {
		return Image{}, fmt.Errorf("cannot look at image %q: %w", name, err)
	}
	return image, nil
}

// within runs read where it may hang for ever without keeping the caller, who
// waits for s.limit at most. At most maxReads reads go on at a time.
func within[T any](ctx context.Context, s *Store, read func(context.Context) (T, error)) (T, error) {
	return withinLimit(ctx, s, s.limit, read)
}

func withinLimit[T any](
	ctx context.Context, s *Store, limit time.Duration, read func(context.Context) (T, error),
) (T, error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	defer cancel()
	var none T
	select {
	case s.reads <- struct{}{}:
	case <-ctx.Done():
		return none, cause(ctx)
	}
	done := make(chan result, 1)
	go func() { // outlives us if the disk never answers; holds one token then
		defer func() { <-s.reads }()
		value, err := read(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, cause(ctx)
	}
}

var errSlow = fmt.Errorf("the file system does not answer: %w", machine1.ErrTimeout)

func cause(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, machine1.ErrTimeout) {
		return err
	}
	return fmt.Errorf("%w: %w", unix.ECANCELED, ctx.Err())
}
