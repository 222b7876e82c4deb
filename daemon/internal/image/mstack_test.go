package image_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/daemon/internal/image"
)

func TestStackIsReadOnly(t *testing.T) {
	t.Parallel()
	// What is expected is what systemd-machined 262 says.
	tests := []struct {
		entries  string // as for populate
		readOnly bool
	}{
		{"", false}, // starts on a tmpfs
		{".hidden/", false},
		{"root/", false},
		{"rw/", false},
		{"rw.raw", false},
		{"layer@1/", true},
		{"layer@1/ layer@2.raw", true},
		{"layer@1/ rw/", false},
		{"layer@1.v/ layer@1.v/layer@1_1/", true},
		{"root/ rw/", true}, // rw has no usr to put on root
		{"root/ rw/ rw/usr/", false},
		{"root/ layer@1/", true},
		{"root/ layer@1/ layer@1/usr/", false},
		{"root/ layer@1/ layer@2/", false},
		{"root/ layer@1/ rw/", false},
		{"root.v/ root.v/root_1/", false},
		{"bind@foo/", false},
		{"robind@etc/", false},
		{"layer@1/ bind@etc/", false},
		{"layer@1/ robind@etc/", true},
		{"bind@-/ layer@1/", false},
		{"robind@-/ layer@1/ rw/", true},
		{"robind@-/", true},
		{"root/ robind@-/", true},
		{"root/ robind@usr/ layer@1/", false},
		{"robind@usr/ rw/", false},
		// What systemd refuses counts as read-only.
		{"rw", true},
		{"rw/ rw.raw", true},
		{"junk", true},
		{"junk/", true},
		{"tmpfs@var/", true},
		{"root@ro/", true},
		{"layer@/", true},
		{"layer@1/ layer@1.raw", true},
		{"layer@1>nowhere", true},
		{"layer@1.v/ layer@1.v/layer@2_1/", true},
		{"rw|", true},
		{`bind@\x/`, true},
		{"bind@a--b/", true},
		{"bind@-usr/", true},
		{`robind@\x2e\x2e/`, true},
		{"bind@etc/ robind@etc.raw", true},
	}
	for _, test := range tests {
		dir := t.TempDir()
		populate(t, filepath.Join(dir, "a.mstack"), strings.Fields(test.entries))
		got, err := storeOf(dir).Get(t.Context(), "a")
		if err != nil || got.Type != image.TypeMStack || got.ReadOnly != test.readOnly {
			t.Errorf("%q: %s, read-only %v, %v; want %v", test.entries, got.Type, got.ReadOnly, err, test.readOnly)
		}
		if got.Created == 0 || got.Modified != 0 || got.Usage != image.Unknown || got.Limit != image.Unknown {
			t.Errorf("%q: got %+v", test.entries, got)
		}
	}
}
