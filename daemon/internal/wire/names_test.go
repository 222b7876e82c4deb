package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestNamesAndPaths(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"/", "/a", "/a/b_2", "/0", "", "a", "//", "/a/", "/a//b", "/a-b", "/ä", "/a\x00"} {
		if got, want := validPath(p), dbus.ObjectPath(p).IsValid(); got != want {
			t.Errorf("path %q: got %v", p, got)
		}
	}
	for name, want := range map[string]bool{
		"a.b": true, "org.freedesktop._1x": true, "a": false, "": false, "a.": false, ".a": false, "a..b": false,
		"a.1b": false, "a.b-c": false, "a." + strings.Repeat("x", 254): false,
	} {
		if got := ValidInterface(name); got != want {
			t.Errorf("interface %q: got %v", name, got)
		}
	}
}

func TestSignaturesAreSplit(t *testing.T) {
	t.Parallel()
	for sig, want := range map[string][]string{
		"": nil, "s": {"s"}, "a{sv}(iay)aaov": {"a{sv}", "(iay)", "aao", "v"}, "a((s)a{sa(y)})h": {"a((s)a{sa(y)})", "h"},
	} {
		if got, ok := SplitSignature(sig); !ok || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v", sig, got, ok)
		}
	}
	for _, sig := range []string{"a", "(", ")", "()", "(s", "{sv}", "a{s}", "a{svv}", "a{vs}", "a{sv", "z", "e", "r", strings.Repeat("y", 256)} {
		if _, ok := SplitSignature(sig); ok {
			t.Errorf("%q was split", sig)
		}
	}
}
