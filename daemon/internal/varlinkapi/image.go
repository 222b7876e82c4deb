package varlinkapi

import (
	"context"
	"errors"
	"math"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/progress"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

var (
	imageName = varlink.Field{Name: "name", Type: varlink.String, Valid: isImageName}
	newName   = varlink.Field{Name: "newName", Type: varlink.String, Valid: isImageName}

	cleanMode = varlink.Enum("CleanPoolMode", string(image.CleanAll), string(image.CleanHidden))
)

// imageInterface has its rows in the order of the reference.
//
// Reference: varlink-io.systemd.MachineImage.c.
var imageInterface = varlink.Interface[*API]{
	Name: "io.systemd.MachineImage",
	Doc:  "The images that machines can be started from",
	Methods: []varlink.Method[*API]{
		{
			Name: "List",
			Doc:  "Describes one image, or with 'more' all of them",
			In: varlink.Fields{
				{Name: "name", Type: varlink.String, Nullable: true, Valid: isImageName},
				{Name: "acquireMetadata", Type: acquireMetadata, Nullable: true},
				interactive,
			},
			Out: varlink.Fields{
				{Name: "name", Type: varlink.String},
				{Name: "path", Type: varlink.String, Nullable: true},
				{Name: "type", Doc: "One of directory, subvolume, raw, block, mstack", Type: varlink.String},
				{Name: "class", Doc: "Always 'machine'", Type: varlink.String},
				{Name: "readOnly", Type: varlink.Bool},
				{Name: "creationTimestamp", Doc: "Microseconds since the epoch", Type: varlink.Int, Nullable: true},
				{Name: "modificationTimestamp", Type: varlink.Int, Nullable: true},
				{Name: "usage", Doc: "Bytes", Type: varlink.Int, Nullable: true},
				{Name: "usageExclusive", Doc: "Bytes that it shares with no other image", Type: varlink.Int, Nullable: true},
				{Name: "limit", Type: varlink.Int, Nullable: true},
				{Name: "limitExclusive", Type: varlink.Int, Nullable: true},
				{Name: "hostname", Type: varlink.String, Nullable: true},
				{Name: "machineId", Type: varlink.String, Nullable: true},
				{Name: "machineInfo", Type: varlink.Array(varlink.String), Nullable: true},
				{Name: "OSRelease", Type: varlink.Array(varlink.String), Nullable: true},
			},
			More:   varlink.Streams,
			Access: machine1.ActionInspectImages,
			Func:   listImages,
		},
		{
			Name: "Update",
			Doc:  "Renames an image, makes it read-only or writable, and limits its size",
			In: varlink.Fields{
				imageName, interactive,
				{Name: "newName", Type: varlink.String, Nullable: true, Valid: isImageName},
				{Name: "readOnly", Type: varlink.Bool, Nullable: true},
				{Name: "limit", Doc: "Bytes", Type: varlink.Uint, Nullable: true, NullIsAbsent: true},
			},
			Access: machine1.ActionManageImages,
			Func:   updateImage,
		},
		{
			Name: "Clone",
			Doc:  "Copies an image",
			In: varlink.Fields{
				imageName, interactive, newName,
				{Name: "readOnly", Doc: "Of the copy", Type: varlink.Bool, Nullable: true},
			},
			Access: machine1.ActionManageImages,
			Func:   cloneImage,
		},
		{
			Name:   "Remove",
			Doc:    "Removes an image and its settings files",
			In:     varlink.Fields{imageName, interactive},
			Access: machine1.ActionManageImages,
			Func:   removeImage,
		},
		{
			Name: "SetPoolLimit",
			Doc:  "Limits the size of all images together",
			In: varlink.Fields{
				interactive,
				{Name: "limit", Doc: "Bytes", Type: varlink.Uint, Valid: isPoolLimit},
			},
			Access: machine1.ActionManageImages,
			Func:   setPoolLimit,
		},
		{
			Name: "CleanPool",
			Doc:  "Removes images that are not in use, and tells of each",
			In:   varlink.Fields{interactive, {Name: "mode", Type: cleanMode}},
			Out: varlink.Fields{
				{Name: "name", Type: varlink.String},
				{Name: "usageExclusive", Doc: "Bytes that are free now", Type: varlink.Int, Nullable: true},
			},
			More:   varlink.OnlyStream,
			Access: machine1.ActionManageImages,
			Func:   cleanPool,
		},
	},
	Errors: []varlink.ErrorType{
		{Name: "NoSuchImage", Doc: "There is no image that the caller asks for"},
		{Name: "TooManyOperations", Doc: "Too many images and files are being changed already"},
		{Name: "NotSupported", Doc: "The file system does not allow it"},
	},
}

func isImageName(v any) bool { return machine1.ValidImageName(v.(string)) }

// isPoolLimit refuses sizes that a file system cannot keep.
//
// Reference: image-varlink.c, vl_method_set_pool_limit.
func isPoolLimit(v any) bool { n := v.(uint64); return n <= math.MaxInt64 || n == image.Unknown }

// updateImage renames first, and then tries both of the other changes.
//
// Reference: image-varlink.c, vl_method_update_image.
func updateImage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	i, err := a.image(ctx, c, access.UpdateImage, nil)
	if err != nil {
		return nil, err
	}
	ctx = varlink.Detach(ctx)
	if c.In.Has("newName") {
		name := c.In.String("newName")
		if err := a.Images.Rename(ctx, i, name); err != nil {
			return nil, err
		}
		if i, err = a.Images.Get(ctx, name); err != nil {
			return nil, err
		}
	}
	var readOnlyErr, limitErr error
	if c.In.Has("readOnly") {
		readOnlyErr = a.Images.SetReadOnly(ctx, i, c.In.Bool("readOnly"))
	}
	if limit := c.In.Uint("limit"); c.In.Has("limit") && limit != image.Unknown {
		limitErr = a.Images.SetLimit(ctx, i, limit)
	}
	if readOnlyErr != nil {
		return nil, readOnlyErr
	}
	return nil, limitErr
}

// Reference: image-varlink.c, vl_method_clone_image.
func cloneImage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	name := c.In.String("newName")
	return nil, a.change(ctx, c, access.CloneImage, map[string]string{"new_name": name},
		func(ctx context.Context, i image.Image) error {
			return a.Images.Clone(ctx, i, name, c.In.Bool("readOnly"))
		})
}

// Reference: image-varlink.c, vl_method_remove_image.
func removeImage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.removeImage(ctx, c, access.RemoveImage, nil, image.RemoveSettings)
}

func (a *API) removeImage(ctx context.Context, c *varlink.Call, rule access.Rule, details map[string]string, keep image.Settings) error {
	return a.change(ctx, c, rule, details, func(ctx context.Context, i image.Image) error {
		return a.Images.Remove(progress.With(varlink.Detach(ctx), progress.Of(ctx)), i, keep)
	})
}

// Reference: image-varlink.c, vl_method_set_pool_limit.
func setPoolLimit(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	if err := a.ask(ctx, c, access.VarlinkSetPoolLimit, nil); err != nil {
		return nil, err
	}
	err := a.Images.SetPoolLimit(varlink.Detach(ctx), c.In.Uint("limit"))
	return nil, unsupported(err, errImageNotSupported)
}

// image returns the image that the caller names, if it may do to it what rule
// is about.
func (a *API) image(ctx context.Context, c *varlink.Call, rule access.Rule, details map[string]string) (image.Image, error) {
	name := c.In.String("name")
	if _, err := a.Images.Get(ctx, name); err != nil {
		return image.Image{}, err
	}
	all := map[string]string{"image": name}
	for key, value := range details {
		all[key] = value
	}
	if err := a.ask(ctx, c, rule, all); err != nil {
		return image.Image{}, err
	}
	return a.Images.Get(ctx, name) // as it is by now
}

// change runs a long operation on the image that the caller names.
func (a *API) change(ctx context.Context, c *varlink.Call, rule access.Rule, details map[string]string,
	do func(context.Context, image.Image) error) error {
	if a.Operations.Full() {
		return errTooManyOperations
	}
	i, err := a.image(ctx, c, rule, details)
	if err != nil {
		return err
	}
	ctx, end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return do(ctx, i)
}

// begin is operation.Set's, with the error's name for images.
func (a *API) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, end, err := a.Operations.Begin(ctx, "")
	if errors.Is(err, operation.ErrTooMany) {
		return nil, nil, errTooManyOperations
	}
	return ctx, end, err
}
