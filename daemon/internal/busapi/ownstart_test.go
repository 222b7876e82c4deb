package busapi

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func (w *launchWorld) Start(_ context.Context, name string, o machd.StartOptions) (launch.Result, error) {
	w.note("start "+string(o.Wait)+" "+o.Image, machine.Machine{Name: name}, machd.StopOptions{})
	return launch.Result{Unit: "u.service", State: machd.StateReady, Note: "at last"}, nil
}

func (w *launchWorld) StartRun(_ context.Context, name string, o machd.RunOptions, stdio []*os.File) (launch.Running, error) {
	w.note("run "+o.Image, machine.Machine{Name: name}, machd.StopOptions{})
	return launch.Running{}, machine1.Errorf(machine1.ErrNoSuchImage, "No image '%s' known", o.Image)
}

func TestStarting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const start, run = machd.ManagerInterface + ".StartMachine", machd.ManagerInterface + ".RunMachine"
	none := map[string]dbus.Variant{}
	image := machd.StartOptions{Image: "base"}.Variants()
	for _, c := range []struct {
		call string
		in   []any
		want []string
		out  []any
		err  error
	}{
		{start, []any{"new", none}, []string{"start ready  new"}, []any{"u.service", machd.StateReady, "at last"}, nil},
		{start, []any{"new", image}, []string{"start ready base new"}, []any{"u.service", machd.StateReady, "at last"}, nil},
		{start, []any{"new", machd.StartOptions{Wait: machd.WaitNo}.Variants()}, []string{"start no  new"}, []any{"u.service", machd.StateReady, "at last"}, nil},
		{start, []any{"no/name", none}, nil, nil, machine1.ErrInvalidArgs},
		{start, []any{"new", map[string]dbus.Variant{"imago": dbus.MakeVariant("base")}}, nil, nil, machine1.ErrInvalidArgs},
		{start, []any{"new", map[string]dbus.Variant{"wait": dbus.MakeVariant("never")}}, nil, nil, machine1.ErrInvalidArgs},
		{run, []any{"new", []machd.Descriptor{}, image}, []string{"run base new"}, nil, machine1.ErrNoSuchImage},
		{run, []any{"no/name", []machd.Descriptor{}, image}, nil, nil, machine1.ErrInvalidArgs},
		{run, []any{"new", []machd.Descriptor{}, machd.RunOptions{StartOptions: machd.StartOptions{Wait: machd.WaitReady}}.Variants()}, nil, nil, machine1.ErrInvalidArgs},
		{run, []any{"new", []machd.Descriptor{}, machd.RunOptions{StartOptions: machd.StartOptions{VM: true}}.Variants()}, nil, nil, machine1.ErrInvalidArgs},
		{run, []any{"new", []machd.Descriptor{}, machd.RunOptions{StartOptions: machd.StartOptions{Save: true}}.Variants()}, nil, nil, machine1.ErrInvalidArgs},
	} {
		call := w.client.Object(w.server, machine1.ObjectPath).Call(c.call, 0, c.in...)
		got := w.launch.take()
		if err := machine1.FromBus(call.Err); !slices.Equal(got, c.want) || !errors.Is(err, c.err) || err == nil && !reflect.DeepEqual(call.Body, c.out) {
			t.Errorf("%s %v: got %v, %v, %v, want %v, %v, %v", c.call, c.in, got, call.Body, call.Err, c.want, c.out, c.err)
		}
	}
}
