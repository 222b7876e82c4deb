package launch

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machine1"
)

// startUnits is what a start asks of PID 1.
type startUnits interface {
	StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error)
	Start(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error)
	Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	Kill(ctx context.Context, name, whom string, signal int32) error
	Ref(ctx context.Context, name string) error
	Unref(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
	ActiveState(ctx context.Context, name string) (string, error)
}

// startImages is what a start does with images.
type startImages interface {
	Get(ctx context.Context, name string) (image.Image, error)
	Clone(ctx context.Context, i image.Image, newName string, readOnly bool) error
	Remove(ctx context.Context, i image.Image, keep image.Settings) error
}

// starts are the starts under way, by machine.
type starts struct{}
