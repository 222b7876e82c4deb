package fullscreen

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string][]string{
		"":                  nil,
		"q":                 {"q"},
		"cé":                {"c", "é"},
		"\x1b[A\x1bOBq":     {"up", "down", "q"},
		"\x1b[5~\x1b[6~":    {"pageup", "pagedown"},
		"\x1b[H\x1b[4~":     {"home", "end"},
		"\x1b[1;5Cq":        {"q"}, // control and right
		"\x1b[200":          nil,
		"\x1b":              nil,
		"\x1b\x1b[A":        {"up"},
		"\xffq":             {"\ufffd", "q"},
		"\x1b[99999999999~": nil,
	} {
		if diff := cmp.Diff(want, keysOf(sent)); diff != "" {
			t.Errorf("%q: %s", sent, diff)
		}
	}
}
