package varlinkapi

import (
	"encoding/hex"
	"path"
	"strings"
	"testing"
)

// A path that passes means the same to whoever cleans it first.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/", "/a//b", "/a/../b", "/.", "//", "a", "", "/a\x00b", "/" + strings.Repeat("a", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean := path.Clean(s)
		if isNormalPath(s) && s != clean && s != clean+"/" {
			t.Errorf("%q is accepted, but means %q", s, clean)
		}
		if isNormalPath(s) && !isPath(s) {
			t.Errorf("%q is normal, but no path", s)
		}
		if isPath(s) && !path.IsAbs(s) {
			t.Errorf("%q is not absolute", s)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"", "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef", "0123456789ABCDEF0123456789abcde-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := parseID(s)
		if got := strings.ReplaceAll(strings.ToLower(s), "-", ""); ok && got != hex.EncodeToString(id[:]) {
			t.Errorf("%q became %x", s, id)
		}
	})
}
