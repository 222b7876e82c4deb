package filetree

import (
	"testing"
	"time"
)

// SetPatience changes patience for a test, which must not be parallel.
func SetPatience(tb testing.TB, d time.Duration) {
	was := patience
	patience = d
	tb.Cleanup(func() { patience = was })
}

// ParseEntries reads records of getdents64 as a list does.
func ParseEntries(data []byte) (names []string, err error) {
	for len(data) > 0 && err == nil {
		var e entry
		e, data, err = parseEntry(data)
		names = append(names, e.name)
	}
	return names, err
}

// Shown is how errors show a path.
func Shown(path string) string { return shown(path) }
