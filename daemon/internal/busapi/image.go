package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// imageInterface has its rows in the order of the reference's introspection.
//
// Reference: image-dbus.c, image_vtable.
var imageInterface = vtable.Interface{
	Name: machine1.ImageInterface,
	Properties: []vtable.Property{
		{Name: "Name", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) string { return i.Name })},
		{Name: "Path", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) string { return i.Path })},
		{Name: "Type", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) string { return string(i.Type) })},
		{Name: "ReadOnly", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) bool { return i.ReadOnly })},
		{Name: "CreationTimestamp", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.Created })},
		{Name: "ModificationTimestamp", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.Modified })},
		{Name: "Usage", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.Usage })},
		{Name: "Limit", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.Limit })},
		{Name: "UsageExclusive", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.UsageExclusive })},
		{Name: "LimitExclusive", Emits: vtable.EmitsFalse, Get: ofImage(func(i image.Image) uint64 { return i.LimitExclusive })},
	},
}

func ofImage[V string | bool | uint64](get func(image.Image) V) any {
	return vtable.Getter(func(_ context.Context, i image.Image) (V, error) { return get(i), nil })
}
