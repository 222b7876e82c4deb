// Package columns tells how many columns of a terminal a text takes. What most
// texts are made of it knows by itself: go-runewidth builds tables of megabytes
// for the first character beyond them, which takes longer than a whole question
// to the daemon.
package columns

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// Of returns how many columns text takes.
func Of(text string) int {
	n := 0
	for _, r := range text {
		if !isPlain(r) {
			return runewidth.StringWidth(text)
		}
		n++
	}
	return n
}

// Ellipsis returns what stands for text that is cut off. Terminals do not agree
// on the width of … in East Asian locales, where what is beside it would not
// stand below each other any more.
func Ellipsis(unicode bool) string {
	if unicode && !runewidth.EastAsianWidth {
		return "…"
	}
	return "..."
}

// Truncate shortens a text that takes more than most columns, the last of which
// are tail's then. Where there is no room for that there are dots.
func Truncate(text string, most int, tail string) string {
	if Of(text) <= most {
		return text
	}
	if most < Of(tail) {
		return strings.Repeat(".", max(most, 0))
	}
	if strings.ContainsFunc(text+tail, func(r rune) bool { return !isPlain(r) }) {
		return runewidth.Truncate(text, most, tail)
	}
	left := most - Of(tail)
	for i := range text {
		if left == 0 {
			return text[:i] + tail
		}
		left--
	}
	return text
}

// isPlain reports whether r takes one column and combines with nothing.
func isPlain(r rune) bool {
	switch {
	case r < 0x7f:
		return r >= ' '
	case runewidth.EastAsianWidth:
		return false // many of the others take two there
	}
	// Letters of Europe, dashes and dots, arrows, and what frames and trees are
	// drawn with.
	return 0xa1 <= r && r < 0xad || 0xae <= r && r < 0x300 || 0x2010 <= r && r <= 0x2027 || r == '→' || r == '←' || 0x2500 <= r && r <= 0x257f
}
