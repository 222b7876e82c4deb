package busapi

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machine1"
)

// looks counts how often the disk is looked at.
type looks struct {
	Images
	images, pool atomic.Int32
}

func (l *looks) List(ctx context.Context) ([]image.Image, error) {
	l.images.Add(1)
	return l.Images.List(ctx)
}

func (l *looks) Get(ctx context.Context, name string) (image.Image, error) {
	l.images.Add(1)
	return l.Images.Get(ctx, name)
}

func (l *looks) Pool(ctx context.Context) (image.Pool, error) {
	l.pool.Add(1)
	return l.Images.Pool(ctx)
}

// TestAllPropertiesComeFromOneLook: they must fit together, and a disk is slow.
func TestAllPropertiesComeFromOneLook(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		path         dbus.ObjectPath
		iface        string
		images, pool int32
	}{
		{machine1.ObjectPath, machine1.ManagerInterface, 0, 1},
		{machine1.ObjectPath, "", 0, 1},
		{machine1.ImagePath(anImage), machine1.ImageInterface, 1, 0},
		{machine1.ImagePath(anImage), "", 1, 0},
	} {
		w.looks.images.Store(0)
		w.looks.pool.Store(0)
		var values map[string]dbus.Variant
		must(t, w.call(t, c.path, "org.freedesktop.DBus.Properties.GetAll", []any{c.iface}, &values))
		if images, pool := w.looks.images.Load(), w.looks.pool.Load(); images != c.images || pool != c.pool || len(values) < 3 {
			t.Errorf("GetAll(%q) of %s: %d looks at images, want %d; %d at the pool, want %d; %d properties",
				c.iface, c.path, images, c.images, pool, c.pool, len(values))
		}
	}
}
