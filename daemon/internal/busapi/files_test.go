package busapi

import (
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func TestCopiesAndBindsAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	with := func(key string, value any) map[string]dbus.Variant {
		return map[string]dbus.Variant{key: dbus.MakeVariant(value)}
	}
	const (
		denied       = "org.freedesktop.DBus.Error.AccessDenied" // as far as polkit
		invalid      = "org.freedesktop.DBus.Error.InvalidArgs"
		notSupported = "org.freedesktop.DBus.Error.NotSupported"
		unknown      = "org.freedesktop.machine1.NoSuchMachine"
	)
	w.polkit.say(machine1.ErrAccessDenied)
	for name, c := range map[string]struct {
		member string
		in     []any
		want   string
		text   string
	}{
		"a copy":                        {"CopyFromMachine", []any{aContainer, "/a", "/b"}, denied, ""},
		"a copy to the same place":      {"CopyToMachine", []any{aContainer, "/a", ""}, denied, ""},
		"a copy that replaces":          {"CopyToMachineWithFlags", []any{aContainer, "/a", "/b", uint64(1)}, denied, ""},
		"flags of the future":           {"CopyToMachineWithFlags", []any{aContainer, "/a", "/b", uint64(3)}, invalid, "Unknown flags 0x2"},
		"a relative source":             {"CopyFromMachine", []any{aContainer, "a", "/b"}, invalid, ""},
		"a relative destination":        {"CopyFromMachine", []any{aContainer, "/a", "b"}, invalid, ""},
		"a source with dots":            {"CopyFromMachine", []any{aContainer, "/a/../b", "/b"}, invalid, ""},
		"a copy from a VM":              {"CopyFromMachine", []any{aVM, "a", "/b"}, notSupported, "Copying files is only supported on container machines."},
		"a copy from nowhere":           {"CopyFromMachine", []any{"nobody", "a", "/b"}, unknown, "No machine 'nobody' known"},
		"a bind mount":                  {"BindMountMachine", []any{aContainer, "/a", "", true, true}, denied, ""},
		"a bind mount of a relative":    {"BindMountMachine", []any{aContainer, "a", "/b", true, true}, invalid, ""},
		"a bind mount on a relative":    {"BindMountMachine", []any{aContainer, "/a", "b", true, true}, invalid, ""},
		"a bind mount in a VM":          {"BindMountMachine", []any{aVM, "a", "", true, true}, notSupported, "Bind mounting is only supported on container machines."},
		"a bind mount in a hole":        {"BindMountMachine", []any{"nobody", "a", "", true, true}, unknown, "No machine 'nobody' known"},
		"own: an option nobody knows":   {"+CopyFrom", []any{aContainer, "/a", "/b", with("follow", true)}, invalid, "Unknown option 'follow'"},
		"own: an ownership of no kind":  {"+CopyTo", []any{aContainer, "/a", "/b", with("ownership", "mine")}, invalid, `Invalid value of option 'ownership': "mine"`},
		"own: an option of bind mounts": {"+CopyTo", []any{aContainer, "/a", "/b", with("mkdir", true)}, invalid, "Unknown option 'mkdir'"},
		"own: a flag that is a number":  {"+BindMount", []any{aContainer, "/a", "/b", with("mkdir", uint32(1))}, invalid, "Invalid value of option 'mkdir': @u 1"},
		"own: a bind mount":             {"+BindMount", []any{aContainer, "/a", "/b", with("mkdir", true)}, denied, ""},
		"own: away with a relative":     {"+Unbind", []any{aContainer, "b", with("mkdir", true)}, invalid, "Unknown option 'mkdir'"},
		"own: away":                     {"+Unbind", []any{aContainer, "/b", map[string]dbus.Variant{}}, denied, ""},
		"own: away from a VM":           {"+Unbind", []any{aVM, "/b", map[string]dbus.Variant{}}, notSupported, "Bind mounting is only supported on container machines."},
		"own: an image of no name":      {"+RemoveImage", []any{"a/b", map[string]dbus.Variant{}}, invalid, "Image name 'a/b' is invalid."},
		"own: an image that is not":     {"+RemoveImage", []any{"nothing", map[string]dbus.Variant{}}, "org.freedesktop.machine1.NoSuchImage", ""},
		"own: an image, and what with":  {"+RemoveImage", []any{anImage, with("all", true)}, invalid, "Unknown option 'all'"},
	} {
		method := machine1.ManagerInterface + "." + c.member
		if c.member[0] == '+' {
			method = machd.ManagerInterface + "." + c.member[1:]
		}
		err := w.call(t, machine1.ObjectPath, method, c.in)
		if err == nil || machine1.ErrorName(err) != c.want || c.text != "" && err.Error() != c.text {
			t.Errorf("%s: got %s %q, want %s %q", name, machine1.ErrorName(err), err, c.want, c.text)
		}
	}
	if got := w.inside.take(); len(got) > 0 {
		t.Errorf("%d calls came through", len(got))
	}
}

// The same call, by the machine's name and at its object, by flag and by
// option.
func TestCopiesAndBindsMeanWhatTheySay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	object := machine1.MachinePath(aContainer)
	own := machd.CopyOptions{Replace: true}.Variants()
	flat := machd.CopyOptions{Ownership: machd.OwnershipFlat}.Variants()
	for _, c := range []struct {
		path   dbus.ObjectPath
		method string
		in     []any
	}{
		{machine1.ObjectPath, machine1.ManagerInterface + ".CopyFromMachine", []any{aContainer, "/a", ""}},
		{object, machine1.MachineInterface + ".CopyToWithFlags", []any{"/a", "/b", uint64(1)}},
		{machine1.ObjectPath, machd.ManagerInterface + ".CopyFrom", []any{aContainer, "/a", "/b", own}},
		{object, machd.MachineInterface + ".CopyTo", []any{"/a", "/b", flat}},
		{machine1.ObjectPath, machine1.ManagerInterface + ".BindMountMachine", []any{aContainer, "/a", "", true, false}},
		{object, machine1.MachineInterface + ".BindMount", []any{"/a", "/b", false, true}},
		{object, machd.MachineInterface + ".BindMount", []any{"/a", "/b", machd.BindOptions{ReadOnly: true}.Variants()}},
	} {
		if err := w.call(t, c.path, c.method, c.in); err == nil || err.Error() != errReached.Error() {
			t.Errorf("%s: %v", c.method, err)
		}
	}
	copies, binds := w.inside.done()
	if diff := cmp.Diff([]inside.Copy{
		{Source: "/a", Destination: "/a"},
		{Source: "/a", Destination: "/b", Replace: true},
		{Source: "/a", Destination: "/b", Replace: true, Ownership: inside.OwnershipMapped},
		{Source: "/a", Destination: "/b"},
	}, copies); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]inside.Bind{
		{Source: "/a", Destination: "/a", ReadOnly: true},
		{Source: "/a", Destination: "/b", MakeDir: true},
		{Source: "/a", Destination: "/b", ReadOnly: true, IDMapped: true},
	}, binds); diff != "" {
		t.Errorf("bind mounts (-want +got):\n%s", diff)
	}
	if leaders := w.inside.take(); len(leaders) != 7 || !slices.ContainsFunc(leaders, notNil) {
		t.Errorf("they went to %v", leaders)
	}
}

// A copy that goes on when its machine ends is answered.
func TestCopyEndsWithItsMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inside.hangFromNowOn()
	answered := make(chan error, 1)
	go func() { answered <- w.manager(t, "CopyFromMachine", []any{aContainer, "/a", "/b"}) }()
	w.inside.await(t, 1)
	must(t, w.manager(t, "UnregisterMachine", []any{aContainer}))
	select {
	case err := <-answered:
		if machine1.ErrorName(err) != "org.freedesktop.machine1.NoSuchMachine" {
			t.Errorf("the copy ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the copy is not answered")
	}
	if w.operations.Full() {
		t.Error("it still counts")
	}
}

// One more than the limit is refused before anybody is asked for a password,
// and whatever its arguments are.
func TestTooManyOperationsAreRefusedEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ends := make([]func(), operation.Max)
	for i := range ends {
		_, end, err := w.operations.Begin(t.Context(), "")
		must(t, err)
		ends[i] = end
	}
	none := map[string]dbus.Variant{}
	for _, c := range []struct {
		method string
		in     []any
		text   string
	}{
		{"CopyFromMachine", []any{aContainer, "a", "b"}, "Too many ongoing copies."},
		{"CopyToMachineWithFlags", []any{aVM, "a", "b", uint64(7)}, "Too many ongoing copies."},
		{"CloneImage", []any{anImage, "/", false}, "Too many ongoing operations."},
		{"RemoveImage", []any{anImage}, "Too many ongoing operations."},
		{"CleanPool", []any{"whatever"}, "Too many ongoing operations."},
	} {
		err := w.manager(t, c.method, c.in)
		if machine1.ErrorName(err) != "org.freedesktop.DBus.Error.LimitsExceeded" || err.Error() != c.text {
			t.Errorf("%s: %v", c.method, err)
		}
	}
	if err := w.call(t, machine1.ObjectPath, machd.ManagerInterface+".CopyTo", []any{aContainer, "/a", "/b", none}); err == nil ||
		err.Error() != "Too many ongoing copies." {
		t.Errorf("our own copy: %v", err)
	}
	if asked := w.polkit.take(); len(asked) > 0 {
		t.Errorf("polkit is asked %v", asked)
	}
	ends[0]()
	if err := w.manager(t, "CopyFromMachine", []any{aContainer, "/a", "/b"}); err == nil || err.Error() != errReached.Error() {
		t.Errorf("one less: %v", err)
	}
}
