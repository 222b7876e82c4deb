package columns

import (
	"testing"

	"github.com/mattn/go-runewidth"
)

func TestWidthsAreThoseOfTheTables(t *testing.T) {
	east := runewidth.EastAsianWidth
	t.Cleanup(func() { runewidth.EastAsianWidth, runewidth.DefaultCondition.EastAsianWidth = east, east })
	for _, east := range []bool{false, true} {
		runewidth.EastAsianWidth, runewidth.DefaultCondition.EastAsianWidth = east, east
		for r := range rune(0x30000) {
			if got, want := Of(string(r)), runewidth.StringWidth(string(r)); got != want {
				t.Errorf("U+%04X (East Asian %v) takes %d, want %d", r, east, got, want)
			}
		}
	}
}

func TestTextsAreShortenedAsByTheTables(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "a", "ab", "abc", "abcdef", "├─1 sleep infinity", "日本語のテキスト", "a日本", "naïve café", "e\u0301tude longue", "👩‍👩‍👧 family", "tab\there",
	} {
		for _, tail := range []string{"…", "...", ""} {
			for columns := 1; columns < 12; columns++ {
				if columns < Of(tail) {
					continue // there is no room for the tail alone
				}
				if got, want := Truncate(text, columns, tail), runewidth.Truncate(text, columns, tail); got != want {
					t.Errorf("%q in %d columns with %q is %q, want %q", text, columns, tail, got, want)
				}
			}
		}
	}
}
