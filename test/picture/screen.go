package main

import (
	"strconv"
	"strings"
)

// A style is how characters look. Colours are as SVG has them, "" is the
// terminal's own.
type style struct {
	foreground, background string
	bold, dim, underline   bool
	reverse                bool
}

// A span is text of one style, from a column on.
type span struct {
	column int
	text   string
	style  style
}

// A screen is lines of spans.
type screen [][]span

// parse reads text with SGR sequences. A style goes on over the end of a line.
func parse(text string) screen {
	var s screen
	var now style
	for line := range strings.Lines(text) {
		spans := []span{}
		column := 0
		for line = strings.TrimSuffix(line, "\n"); line != ""; {
			rest, ok := strings.CutPrefix(line, "\x1b[")
			if ok {
				parameters, after, _ := strings.Cut(rest, "m")
				now.set(parameters)
				line = after
				continue
			}
			plain, after := line, ""
			if i := strings.IndexByte(line, '\x1b'); i > 0 {
				plain, after = line[:i], line[i:]
			}
			spans = append(spans, span{column, plain, now})
			column += width(plain)
			line = after
		}
		s = append(s, spans)
	}
	return s
}

// set changes a style as the parameters of an SGR sequence say.
func (s *style) set(parameters string) {
	codes := strings.FieldsFunc(parameters, func(r rune) bool { return r == ';' || r == ':' })
	if len(codes) == 0 {
		*s = style{}
	}
	for i := 0; i < len(codes); i++ {
		n, _ := strconv.Atoi(codes[i])
		switch {
		case n == 0:
			*s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 4:
			s.underline = true
		case n == 7:
			s.reverse = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 24:
			s.underline = false
		case n == 27:
			s.reverse = false
		case n == 38 || n == 48:
			colour, used := extended(codes[i+1:])
			i += used
			if n == 38 {
				s.foreground = colour
			} else {
				s.background = colour
			}
		case n == 39:
			s.foreground = ""
		case n == 49:
			s.background = ""
		case n >= 30 && n <= 37:
			s.foreground = palette(n - 30)
		case n >= 40 && n <= 47:
			s.background = palette(n - 40)
		case n >= 90 && n <= 97:
			s.foreground = palette(n - 90 + 8)
		case n >= 100 && n <= 107:
			s.background = palette(n - 100 + 8)
		}
	}
}

// extended reads a colour of 256 or of 16 million, and how many codes it takes.
func extended(codes []string) (colour string, used int) {
	number := func(i int) int {
		n, _ := strconv.Atoi(codes[i])
		return n
	}
	switch {
	case len(codes) >= 2 && codes[0] == "5":
		return palette(number(1)), 2
	case len(codes) >= 4 && codes[0] == "2":
		return rgb(number(1), number(2), number(3)), 4
	}
	return "", len(codes)
}
