package machd_test

import (
	"errors"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func TestOptionsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		bind := machd.BindOptions{ReadOnly: on, MakeDir: !on}
		if got, err := machd.ParseBindOptions(bind.Variants()); err != nil || got != bind {
			t.Errorf("%+v came back as %+v, %v", bind, got, err)
		}
		remove := machd.RemoveOptions{Settings: on}
		if got, err := machd.ParseRemoveOptions(remove.Variants()); err != nil || got != remove {
			t.Errorf("%+v came back as %+v, %v", remove, got, err)
		}
		for _, ownership := range []machd.Ownership{machd.OwnershipMap, machd.OwnershipFlat} {
			copied := machd.CopyOptions{Replace: on, Ownership: ownership}
			if got, err := machd.ParseCopyOptions(copied.Variants()); err != nil || got != copied {
				t.Errorf("%+v came back as %+v, %v", copied, got, err)
			}
		}
	}
}

func TestNoOptionsAreTheDefaults(t *testing.T) {
	t.Parallel()
	want := machd.CopyOptions{Ownership: machd.OwnershipMap}
	for _, options := range []map[string]dbus.Variant{nil, machd.CopyOptions{}.Variants()} {
		if got, err := machd.ParseCopyOptions(options); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if err := machd.ParseNoOptions(nil); err != nil {
		t.Error(err)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key   string
		value any
		want  string
	}{
		"an option nobody knows":   {"follow", true, "Unknown option 'follow'"},
		"an option of other calls": {"mkdir", true, "Unknown option 'mkdir'"},
		"a text for a flag":        {"replace", "yes", `Invalid value of option 'replace': "yes"`},
		"an ownership of no kind":  {"ownership", "mine", `Invalid value of option 'ownership': "mine"`},
		"an ownership by number":   {"ownership", uint32(0), "Invalid value of option 'ownership': @u 0"},
	} {
		_, err := machd.ParseCopyOptions(map[string]dbus.Variant{c.key: dbus.MakeVariant(c.value)})
		if !errors.Is(err, machine1.ErrInvalidArgs) || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestARunSaysWhichOptionsItHasNot(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]machd.StartOptions{
		"Option 'vm' asks for a virtual machine, which runs no command":                                 {VM: true},
		"Option 'save' is for later starts, of which a machine that is thrown away has none":            {Save: true},
		"Option 'wait' is for starts: a run is answered when it begins, and its session tells the rest": {Wait: machd.WaitNo},
	} {
		_, err := machd.ParseRunOptions(machd.RunOptions{StartOptions: o}.Variants())
		if !errors.Is(err, machine1.ErrInvalidArgs) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	o := machd.RunOptions{StartOptions: machd.StartOptions{Image: "a", WaitTimeout: time.Minute}, Terminal: true}
	got, err := machd.ParseRunOptions(o.Variants())
	if diff := cmp.Diff(o, got); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

func FuzzParseOwnership(f *testing.F) {
	for _, seed := range []string{"map", "flat", "", "Map", "mapp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, ok := machd.ParseOwnership(name)
		if ok != (name == "map" || name == "flat") || ok && string(got) != name {
			t.Errorf("%q is %q, %v", name, got, ok)
		}
	})
}
