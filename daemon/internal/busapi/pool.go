package busapi

import (
	"context"
	"math"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

func listImages(ctx context.Context, _ *vtable.Call, a *API) ([]machine1.ListedImage, error) {
	images, err := a.images.List(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]machine1.ListedImage, 0, len(images))
	for _, i := range images {
		rows = append(rows, listedImage(i))
	}
	return rows, nil
}

// lookingOnce is a, for one call that reads several properties of the pool: they
// come from one look at the disk.
func (a *API) lookingOnce() *API {
	return New(Config{
		Machines: a.machines, Images: &poolOnce{Images: a.images}, Inside: a.inside, Operations: a.operations,
		Authority: a.callers, Access: a.gate, LogLevel: a.logLevel,
	})
}

// poolOnce looks at the pool once. It is one goroutine's.
type poolOnce struct {
	Images
	looked bool
	pool   image.Pool
	err    error
}

func (p *poolOnce) Pool(ctx context.Context) (image.Pool, error) {
	if !p.looked {
		p.pool, p.err = p.Images.Pool(ctx)
		p.looked = true
	}
	return p.pool, p.err
}

func poolPath(ctx context.Context, a *API) (string, error) {
	pool, err := a.images.Pool(ctx)
	return pool.Path, err
}

func poolUsage(ctx context.Context, a *API) (uint64, error) {
	pool, err := a.images.Pool(ctx)
	return pool.Usage, err
}

func poolLimit(ctx context.Context, a *API) (uint64, error) {
	pool, err := a.images.Pool(ctx)
	return pool.Limit, err
}

func setPoolLimit(ctx context.Context, c *vtable.Call, a *API, size uint64) error {
	if err := checkLimit(size); err != nil {
		return err
	}
	if err := a.ask(ctx, c, access.SetPoolLimit, nil); err != nil {
		return err
	}
	return a.images.SetPoolLimit(ctx, size)
}

// checkLimit refuses sizes that a file system cannot keep.
//
// Reference: image-dbus.c, bus_image_method_set_limit.
func checkLimit(size uint64) error {
	if size > math.MaxInt64 && size != image.Unknown {
		return machine1.Errorf(machine1.ErrInvalidArgs, "New limit out of range")
	}
	return nil
}

// A cleanedImage is one row of CleanPool, signature (st): the name, and the
// bytes that the image alone took.
type cleanedImage struct {
	Name  string
	Usage uint64
}

// cleanPool tells nothing of what it removed if one image cannot be removed.
//
// Reference: machined-dbus.c, method_clean_pool.
func cleanPool(ctx context.Context, c *vtable.Call, a *API, mode string) ([]cleanedImage, error) {
	if a.operations.Full() {
		return nil, operation.ErrTooMany
	}
	switch image.CleanMode(mode) {
	case image.CleanAll, image.CleanHidden:
	default:
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "Unknown mode '%s'.", mode)
	}
	if err := a.ask(ctx, c, access.CleanPool, map[string]string{"mode": mode}); err != nil {
		return nil, err
	}
	ctx, end, err := a.operations.Begin(ctx, "")
	if err != nil {
		return nil, err
	}
	defer end()
	var rows []cleanedImage
	err = a.images.Clean(ctx, image.CleanMode(mode), func(r image.Removed) { rows = append(rows, cleanedImage(r)) })
	if err != nil {
		return nil, err
	}
	return rows, nil
}
