package busapi

import (
	"context"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// longRows are stock methods that take long, with something to tell of it.
var longRows = []vtable.Method{
	{
		Name: "CloneImage",
		Doc:  "As the stock method: copies an image, which nobody sees before it is whole.",
		In:   "name new_name options", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(ownCloneImage),
	},
	{
		Name: "CleanPool",
		Doc:  "As the stock method: removes images that are not in use, those that are `hidden` or `all`.",
		In:   "mode options", Out: "images", Access: machine1.ActionManageMachines, Slow: true, Func: ownCleanPool,
	},
}

// following does what may take long, and tells of it by the pipe that came with
// the call, if one did. It is called off when nobody reads that any more.
func following(ctx context.Context, c *vtable.Call, pipe dbus.UnixFD, do func(context.Context) error) error {
	if pipe == 0 {
		return do(ctx)
	}
	fd := c.TakeFD(pipe)
	if fd < 0 {
		return machine1.Errorf(machine1.ErrInvalidArgs, "The pipe for progress did not come with the call")
	}
	own, err := progress.OpenPipe(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	defer own.Close()
	ctx, stop := progress.Watch(ctx, own.Tell)
	defer stop()
	return do(ctx)
}

func ownCloneImage(ctx context.Context, c *vtable.Call, o imageObject, newName string, opts options) error {
	parsed, err := machd.ParseCloneOptions(opts)
	if err != nil {
		return err
	}
	return following(ctx, c, parsed.Progress, func(ctx context.Context) error {
		return cloneImage(ctx, c, o, newName, parsed.ReadOnly)
	})
}

func ownCleanPool(ctx context.Context, c *vtable.Call, a *API, mode string, opts options) (rows []cleanedImage, err error) {
	parsed, err := machd.ParseCleanOptions(opts)
	if err != nil {
		return nil, err
	}
	err = following(ctx, c, parsed.Progress, func(ctx context.Context) error {
		rows, err = cleanPool(ctx, c, a, mode)
		return err
	})
	return rows, err
}
