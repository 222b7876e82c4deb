package wire

import (
	"regexp"
	"testing"

	"github.com/godbus/dbus/v5"
)

// pathRule is what the D-Bus specification says of object paths.
var pathRule = regexp.MustCompile(`^(/|(/[A-Za-z0-9_]+)+)$`)

func FuzzObjectPath(f *testing.F) {
	for _, p := range []string{"/", "/a/b", "//", "/a/", "", "/a//b", "/\xff", "/org/freedesktop/machine1/machine/_2ehost", "a/b", "/a\n"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		want := pathRule.MatchString(p) && p[len(p)-1] != '\n'
		if got := validPath(p); got != want {
			t.Errorf("%q is valid: %v, want %v", p, got, want)
		}
		var e Encoder
		e.ObjectPath(dbus.ObjectPath(p))
		if (e.Err() == nil) != want {
			t.Errorf("%q is written: %v", p, e.Err())
		}
	})
}

// memberRule and interfaceRule are what it says of names.
var (
	memberRule    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	interfaceRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
)

func FuzzName(f *testing.F) {
	for _, n := range []string{"a", "a.b", "", ".", "a.", ".a", "1a", "a.1", "a..b", "A_1.b_2", "é.b"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		fits := len(name) <= maxName
		if got, want := ValidMember(name), fits && memberRule.MatchString(name); got != want {
			t.Errorf("%q is a member: %v, want %v", name, got, want)
		}
		if got, want := ValidInterface(name), fits && interfaceRule.MatchString(name); got != want {
			t.Errorf("%q is an interface: %v, want %v", name, got, want)
		}
	})
}
