// Package logline makes lines that may be shown to anybody of what programs
// print.
package logline

import (
	"regexp"
	"strings"
)

// Max is how long a line may become, in bytes, without the mark that says that
// it was cut off.
const Max = 400

// escapes are the sequences by which a console's lines are coloured.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// Clean makes one line of text that may go over the bus.
func Clean(text string) string {
	text = escapes.ReplaceAllString(strings.ToValidUTF8(text, "?"), "")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	if len(text) > Max {
		text = strings.ToValidUTF8(text[:Max], "") + " …"
	}
	return text
}
