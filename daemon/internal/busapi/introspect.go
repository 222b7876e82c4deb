package busapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// described are the objects that can be introspected without a bus. The node of
// all machines stands for one of them, and so does that of the images.
var described = []struct {
	path     dbus.ObjectPath
	bindings []vtable.Binding
}{
	{machine1.ObjectPath, managerBindings(nil)},
	{dbus.ObjectPath(machineNode), machineBindings(machineObject{})},
	{dbus.ObjectPath(imageNode), imageBindings(imageObject{})},
	{logControlPath, logControlBindings(nil)},
}

// Introspect describes what is served, without a bus: pattern is an object's
// path, an interface's name, or "list" for a list of both.
//
// Reference: bus-object.c, bus_introspect_implementations.
func Introspect(ctx context.Context, pattern string) (string, error) {
	if pattern == "list" {
		return listDescribed(), nil
	}
	for _, d := range described {
		for _, b := range d.bindings {
			if pattern == string(d.path) || pattern == b.Interface.Name {
				return vtable.Introspect(ctx, offline{}, d.path)
			}
		}
	}
	what := "Object path"
	if strings.Contains(pattern, ".") && !strings.HasPrefix(pattern, "/") {
		what = "Interface"
	}
	return "", fmt.Errorf("%s %s not found", what, pattern)
}

// listDescribed has one line per interface: the path, a tab, the name.
func listDescribed() string {
	var b strings.Builder
	for _, d := range described {
		for _, binding := range d.bindings {
			fmt.Fprintf(&b, "%s\t%s\n", d.path, binding.Interface.Name)
		}
	}
	return b.String()
}

// offline is a Tree of what is described, to be looked at only.
type offline struct{}

func (offline) Find(_ context.Context, _ *vtable.Call, path dbus.ObjectPath) ([]vtable.Binding, bool) {
	for _, d := range described {
		if d.path == path {
			return d.bindings, true
		}
	}
	return nil, false
}

func (offline) Children(_ context.Context, _ *vtable.Call, path dbus.ObjectPath) []string {
	return childrenOfParent(string(path))
}

func (offline) Waits(dbus.ObjectPath) bool { return false }
