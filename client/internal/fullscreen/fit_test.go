package fullscreen

import (
	"regexp"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/machd/machd/client/internal/columns/columnstest"
)

func TestFit(t *testing.T) {
	columnstest.EastAsian(t, false)
	for _, tt := range []struct {
		line  string
		width int
		want  string
	}{
		{"", 5, ""},
		{"short", 5, "short"},
		{"longer", 5, "longe"},
		{"日本語", 5, "日本"},
		{"a\tb", 20, "a       b"},
		{"a\tb", 8, "a       "},
		{"a\tb", 7, "a"},
		{"\x1b[4mhead\x1b[0m and more", 6, "\x1b[4mhead\x1b[0m a"},
		{"\x1b[1;31mred", 2, "\x1b[1;31mre\x1b[0m"},
		{"bad\xff!", 5, "bad\uFFFD!"},
		{"broken\x1b[1", 20, "broken"},
	} {
		if got := Fit(tt.line, tt.width); got != tt.want {
			t.Errorf("Fit(%q, %d) = %q, want %q", tt.line, tt.width, got, tt.want)
		}
	}
}

func TestFitInEastAsia(t *testing.T) {
	columnstest.EastAsian(t, true)
	for _, line := range []string{"a cut…", "├─1 sleep infinity", "日本語 ▲", "\x1b[4m…\x1b[0m", "bad\xff!", "naïve\t→"} {
		for width := range 20 {
			got := Fit(line, width)
			if n := runewidth.StringWidth(sgr.ReplaceAllString(got, "")); n > width {
				t.Errorf("Fit(%q, %d) = %q, of %d columns", line, width, got, n)
			}
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")
