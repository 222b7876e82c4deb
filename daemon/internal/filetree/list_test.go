package filetree_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/machd/machd/daemon/internal/filetree"
)

// The kernel makes these records; a FUSE server chooses what is in them.
func FuzzParseEntries(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08name\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x04a/b\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08name\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\xff\xff\x08name\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := filetree.ParseEntries(data)
		for _, name := range names {
			if err == nil && (name == "" || strings.ContainsAny(name, "/\x00")) {
				t.Errorf("name %q", name)
			}
		}
	})
}

func FuzzShown(f *testing.F) {
	f.Add("a/b")
	f.Add("a\nb\xff\x1b[31m")
	f.Add(strings.Repeat("long/", 1000))
	f.Fuzz(func(t *testing.T, path string) {
		text := filetree.Shown(path)
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\x1b") || len(text) > 5000 {
			t.Errorf("%q", text)
		}
	})
}
