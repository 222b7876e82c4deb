package machine1_test

import (
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

func TestValidMachineName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"c8-ns":                         true,
		"a":                             true,
		"qemu-9-c8.2-min":               true,
		"qemu-11-stream8-20200629":      true,
		"A.b-C.d":                       true,
		strings.Repeat("a", 64):         true,
		"":                              false,
		".host":                         false,
		"work_dev":                      false,
		"a..b":                          false,
		"a.":                            false,
		"-x":                            false,
		"x-":                            false,
		"a.-b":                          false,
		"a-.b":                          false,
		"a b":                           false,
		"a/b":                           false,
		"é":                             false,
		"a\x00":                         false,
		strings.Repeat("a", 65):         false,
		strings.Repeat("a.", 32) + "aa": false,
	} {
		if got := machine1.ValidMachineName(name); got != want {
			t.Errorf("ValidMachineName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestValidImageName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"c8-ns":                  true,
		"work_dev":               true,
		".hidden":                true,
		".host":                  true,
		"日本":                     true,
		"":                       false,
		".":                      false,
		"..":                     false,
		".#lock":                 false,
		"a/b":                    false,
		"a\nb":                   false,
		"\xff":                   false,
		strings.Repeat("x", 256): false,
	} {
		if got := machine1.ValidImageName(name); got != want {
			t.Errorf("ValidImageName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestPathsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		".host": "/org/freedesktop/machine1/machine/_2ehost",
		"c8-ns": "/org/freedesktop/machine1/machine/c8_2dns",
		"8c":    "/org/freedesktop/machine1/machine/_38c",
		"":      "/org/freedesktop/machine1/machine/_",
	} {
		if got := string(machine1.MachinePath(name)); got != want {
			t.Errorf("MachinePath(%q) = %s, want %s", name, got, want)
		}
	}
	if got, want := string(machine1.ImagePath("a_b")), "/org/freedesktop/machine1/image/a_5fb"; got != want {
		t.Errorf("ImagePath = %s, want %s", got, want)
	}
}

func TestUnescapeIsLenient(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"_":       "",
		"c8_2dns": "c8-ns",
		"_66oo":   "foo",
		"a_zz":    "a_zz",
		"a_2":     "a_2",
		"a_2D":    "a-",
	} {
		if got := machine1.UnescapeLabel(label); got != want {
			t.Errorf("UnescapeLabel(%q) = %q, want %q", label, got, want)
		}
	}
}

func TestScopeNameIsWhatLibvirtComputes(t *testing.T) {
	t.Parallel()
	if got, want := machine1.ScopeName("qemu-1-foo"), `machine-qemu\x2d1\x2dfoo.scope`; got != want {
		t.Errorf("ScopeName = %s, want %s", got, want)
	}
	if got, want := machine1.EscapeUnit(".a/b@"), `\x2ea-b\x40`; got != want {
		t.Errorf("EscapeUnit = %s, want %s", got, want)
	}
}

func FuzzLabelRoundTrip(f *testing.F) {
	for _, seed := range []string{"", "c8-ns", ".host", "8", "_", "a_2d", "\x00\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got := machine1.UnescapeLabel(machine1.EscapeLabel(name)); got != name {
			t.Errorf("%q came back as %q", name, got)
		}
	})
}

func TestNamesOfPaths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"c8-ns", ".host", "1", "a.b", "日本"} {
		if got, ok := machine1.MachineName(machine1.MachinePath(name)); got != name || !ok {
			t.Errorf("the path of machine %q is that of %q, %v", name, got, ok)
		}
		if got, ok := machine1.ImageName(machine1.ImagePath(name)); got != name || !ok {
			t.Errorf("the path of image %q is that of %q, %v", name, got, ok)
		}
	}
	for _, path := range []dbus.ObjectPath{"", "/", machine1.ObjectPath, machine1.ObjectPath + "/machine", machine1.ObjectPath + "/machine/a/b", machine1.ImagePath("a")} {
		if got, ok := machine1.MachineName(path); ok {
			t.Errorf("%q is the path of machine %q", path, got)
		}
	}
}
