package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// Reference: image-dbus.c, the methods of image_vtable.

func removeImage(ctx context.Context, c *vtable.Call, o imageObject) error {
	return o.remove(ctx, c, access.RemoveImage, nil, image.RemoveSettings)
}

func (o imageObject) remove(ctx context.Context, c *vtable.Call, rule access.Rule, details map[string]string, settings image.Settings) error {
	if o.api.operations.Full() {
		return operation.ErrTooMany
	}
	return o.change(ctx, c, rule, details, func(ctx context.Context, i image.Image) error {
		return o.api.images.Remove(ctx, i, settings)
	})
}

func renameImage(ctx context.Context, c *vtable.Call, o imageObject, newName string) error {
	if err := checkImageName(newName); err != nil {
		return err
	}
	i, err := o.ask(ctx, c, access.RenameImage, map[string]string{"new_name": newName})
	if err != nil {
		return err
	}
	if err := o.api.images.Rename(ctx, i, newName); err != nil {
		return machine1.Errorf(err, "Failed to rename image: %v", err)
	}
	return nil
}

func cloneImage(ctx context.Context, c *vtable.Call, o imageObject, newName string, readOnly bool) error {
	if o.api.operations.Full() {
		return operation.ErrTooMany
	}
	if err := checkImageName(newName); err != nil {
		return err
	}
	return o.change(ctx, c, access.CloneImage, map[string]string{"new_name": newName}, func(ctx context.Context, i image.Image) error {
		return o.api.images.Clone(ctx, i, newName, readOnly)
	})
}

func markImageReadOnly(ctx context.Context, c *vtable.Call, o imageObject, readOnly bool) error {
	i, err := o.ask(ctx, c, access.MarkImageReadOnly, map[string]string{"read_only": oneIf(readOnly)})
	if err != nil {
		return err
	}
	return o.api.images.SetReadOnly(ctx, i, readOnly)
}

func setImageLimit(ctx context.Context, c *vtable.Call, o imageObject, size uint64) error {
	if err := checkLimit(size); err != nil {
		return err
	}
	i, err := o.ask(ctx, c, access.SetImageLimit, nil)
	if err != nil {
		return err
	}
	return o.api.images.SetLimit(ctx, i, size)
}

func getImageHostname(ctx context.Context, _ *vtable.Call, o imageObject) (string, error) {
	m, err := o.metadata(ctx)
	return m.Hostname, err
}

// getImageMachineID is empty, not 16 zeros, for an image that has none.
func getImageMachineID(ctx context.Context, _ *vtable.Call, o imageObject) ([]byte, error) {
	m, err := o.metadata(ctx)
	if err != nil || m.MachineID == [16]byte{} {
		return nil, err
	}
	return m.MachineID[:], nil
}

func getImageMachineInfo(ctx context.Context, _ *vtable.Call, o imageObject) (map[string]string, error) {
	m, err := o.metadata(ctx)
	return m.MachineInfo.Map(), err
}

func getImageOSRelease(ctx context.Context, _ *vtable.Call, o imageObject) (map[string]string, error) {
	m, err := o.metadata(ctx)
	return m.OSRelease.Map(), err
}

func (o imageObject) metadata(ctx context.Context) (image.Metadata, error) {
	m, err := o.api.images.Metadata(ctx, o.image)
	if err != nil {
		return image.Metadata{}, machine1.Errorf(err, "Failed to read image metadata: %v", err)
	}
	return m, nil
}

func checkImageName(name string) error {
	if !machine1.ValidImageName(name) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Image name '%s' is invalid.", name)
	}
	return nil
}

// oneIf is how polkit's details have a boolean.
func oneIf(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
