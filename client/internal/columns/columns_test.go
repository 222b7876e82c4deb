package columns_test

import (
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/machd/machd/client/internal/columns"
	"github.com/machd/machd/client/internal/columns/columnstest"
)

func TestWidthsAreThoseOfTheTables(t *testing.T) {
	for _, east := range []bool{false, true} {
		columnstest.EastAsian(t, east)
		for r := range rune(0x30000) {
			if got, want := columns.Of(string(r)), runewidth.StringWidth(string(r)); got != want {
				t.Errorf("U+%04X (East Asian %v) takes %d, want %d", r, east, got, want)
			}
		}
	}
}

var texts = []string{
	"", "a", "ab", "abc", "abcdef", "├─1 sleep infinity", "日本語のテキスト", "a日本", "naïve café", "e\u0301tude longue", "👩‍👩‍👧 family", "tab\there", "bad\xff\xe2!",
}

func TestTextsAreShortenedAsByTheTables(t *testing.T) {
	for _, east := range []bool{false, true} {
		columnstest.EastAsian(t, east)
		for _, text := range texts {
			for _, tail := range []string{"…", "...", ""} {
				for most := max(1, columns.Of(tail)); most < 12; most++ {
					if got, want := columns.Truncate(text, most, tail), runewidth.Truncate(text, most, tail); got != want {
						t.Errorf("%q in %d columns with %q (East Asian %v) is %q, want %q", text, most, tail, east, got, want)
					}
				}
			}
		}
	}
}

func TestNoTextIsLongerThanItMayBe(t *testing.T) {
	for _, east := range []bool{false, true} {
		columnstest.EastAsian(t, east)
		for _, text := range texts {
			for _, tail := range []string{"…", "...", ""} {
				for most := range 12 {
					if got := columns.Truncate(text, most, tail); columns.Of(got) > most {
						t.Errorf("%q in %d columns with %q (East Asian %v) is %q, of %d", text, most, tail, east, got, columns.Of(got))
					}
				}
			}
		}
	}
}

func TestTheEllipsisIsAsWideOnEveryTerminal(t *testing.T) {
	for _, row := range []struct {
		east, unicode bool
		want          string
	}{{false, true, "…"}, {false, false, "..."}, {true, true, "..."}, {true, false, "..."}} {
		columnstest.EastAsian(t, row.east)
		if got := columns.Ellipsis(row.unicode); got != row.want {
			t.Errorf("East Asian %v, unicode %v: got %s, want %s", row.east, row.unicode, got, row.want)
		}
	}
}
