package fullscreen

import (
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// tabWidth is how far apart the stops of a terminal are.
const tabWidth = 8

// Fit returns a line of text and SGR sequences that takes no more columns than
// width. Tabs become spaces; styles that were begun are ended.
func Fit(line string, width int) string {
	var b strings.Builder
	column, styled := 0, false
	for len(line) > 0 {
		if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
			end := strings.IndexByte(rest, 'm')
			if end < 0 {
				break
			}
			b.WriteString(line[:len("\x1b[")+end+1])
			styled = rest[:end] != "" && rest[:end] != "0"
			line = rest[end+1:]
			continue
		}
		r, length := utf8.DecodeRuneInString(line)
		text, w := string(r), runewidth.RuneWidth(r)
		if r == '\t' {
			w = tabWidth - column%tabWidth
			text = strings.Repeat(" ", w)
		}
		if column+w > width {
			break
		}
		b.WriteString(text)
		column += w
		line = line[length:]
	}
	if styled {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}
