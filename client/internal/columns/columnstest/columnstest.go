// Package columnstest sets for a test how wide characters are.
package columnstest

import (
	"testing"

	"github.com/mattn/go-runewidth"
)

// EastAsian has the characters that some terminals draw in two columns take two,
// as in the locales of China, Japan and Korea, or one, until the test is over. It
// is for tests that are not parallel.
func EastAsian(t testing.TB, on bool) {
	t.Helper()
	before := runewidth.EastAsianWidth
	set(on)
	t.Cleanup(func() { set(before) })
}

func set(on bool) { runewidth.EastAsianWidth, runewidth.DefaultCondition.EastAsianWidth = on, on }
