package busapi

import (
	"context"
	"maps"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// imageObject is one image as it was when the call came in: all properties of
// one call come from one look at the disk.
type imageObject struct {
	api   *API
	image image.Image
}

// imageInterface has its rows in the order of the reference's introspection.
// Its arguments have no names there.
//
// Reference: image-dbus.c, image_vtable.
var imageInterface = vtable.Interface{
	Name: machine1.ImageInterface,
	Methods: []vtable.Method{
		{Name: "Remove", Access: machine1.ActionManageImages, Slow: true, Func: removeImage},
		{Name: "Rename", In: "-", Access: machine1.ActionManageImages, Slow: true, Func: renameImage},
		{Name: "Clone", In: "- -", Access: machine1.ActionManageImages, Slow: true, Func: cloneImage},
		{Name: "MarkReadOnly", In: "-", Access: machine1.ActionManageImages, Slow: true, Func: markImageReadOnly},
		{Name: "SetLimit", In: "-", Access: machine1.ActionManageImages, Slow: true, Func: setImageLimit},
		{Name: "GetHostname", Out: "-", Slow: true, Func: getImageHostname},
		{Name: "GetMachineID", Out: "-", Slow: true, Func: getImageMachineID},
		{Name: "GetMachineInfo", Out: "-", Slow: true, Func: getImageMachineInfo},
		{Name: "GetOSRelease", Out: "-", Slow: true, Func: getImageOSRelease},
	},
	Properties: []vtable.Property{
		{Name: "Name", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) string { return i.Name })},
		{Name: "Path", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) string { return i.Path })},
		{Name: "Type", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) string { return string(i.Type) })},
		{Name: "ReadOnly", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) bool { return i.ReadOnly })},
		{Name: "CreationTimestamp", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.Created })},
		{Name: "ModificationTimestamp", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.Modified })},
		{Name: "Usage", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.Usage })},
		{Name: "Limit", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.Limit })},
		{Name: "UsageExclusive", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.UsageExclusive })},
		{Name: "LimitExclusive", Emits: vtable.EmitsFalse, Get: ofImageValue(func(i image.Image) uint64 { return i.LimitExclusive })},
	},
}

func ofImageValue[V string | bool | uint64](get func(image.Image) V) any {
	return vtable.Getter(func(_ context.Context, o imageObject) (V, error) { return get(o.image), nil })
}

// ask asks whether the sender of c may do to o what rule is about, and returns
// the image as it is once the answer is there. The details are without the
// image's name.
func (o imageObject) ask(ctx context.Context, c *vtable.Call, rule access.Rule, details map[string]string) (image.Image, error) {
	all := map[string]string{imageDetail(rule): o.image.Name}
	maps.Copy(all, details)
	if err := o.api.ask(ctx, c, rule, all); err != nil {
		return image.Image{}, err
	}
	return o.api.images.Get(ctx, o.image.Name)
}

// imageDetail is the key of the image's name in a question. Where it is
// surprising, rules of administrators are written that way.
//
// Reference: image-dbus.c, bus_image_method_set_limit.
func imageDetail(rule access.Rule) string {
	if rule == access.SetImageLimit {
		return "machine"
	}
	return "image"
}

// change is ask for an operation that may take long.
func (o imageObject) change(ctx context.Context, c *vtable.Call, rule access.Rule, details map[string]string, do func(context.Context, image.Image) error) error {
	i, err := o.ask(ctx, c, rule, details)
	if err != nil {
		return err
	}
	ctx, end, err := o.api.operations.Begin(ctx, "")
	if err != nil {
		return err
	}
	defer end()
	return do(ctx, i)
}
