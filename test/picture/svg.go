package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// The sizes of the picture, in its own pixels.
const (
	cellWidth  = 8.4 // of a monospaced font of this size
	cellHeight = 18
	fontSize   = 14
	margin     = 16
	titleBar   = 30
)

// The terminal's own colours.
const (
	ground = "#1d2021"
	ink    = "#d5dae0"
)

// basic are the first 16 colours.
var basic = [16]string{
	"#3b4048", "#ef6b73", "#8cc570", "#e0b465", "#61afef", "#c586dd", "#56b6c2", "#c8ccd4",
	"#7f8796", "#ff8a92", "#a9dc8e", "#f2cf85", "#85c5ff", "#dba8ee", "#7fd5df", "#ffffff",
}

// palette returns one of the 256 colours.
//
// Reference: xterm's ctlseqs: 16 colours, a cube of 6, 24 greys.
func palette(n int) string {
	level := func(i int) int {
		if i == 0 {
			return 0
		}
		return 55 + 40*i
	}
	switch {
	case n < 16:
		return basic[max(n, 0)]
	case n < 232:
		n -= 16
		return rgb(level(n/36), level(n/6%6), level(n%6))
	}
	grey := 8 + 10*(min(n, 255)-232)
	return rgb(grey, grey, grey)
}

func rgb(r, g, b int) string { return fmt.Sprintf("#%02x%02x%02x", r, g, b) }

// width returns how many cells text takes.
func width(text string) int { return runewidth.StringWidth(text) }

// render writes the screen as a window of a terminal.
func render(w io.Writer, s screen) error {
	widest := 80
	for _, line := range s {
		for _, r := range line {
			widest = max(widest, r.column+width(strings.TrimRight(r.text, " ")))
		}
	}
	wide, high := 2*margin+float64(widest)*cellWidth, titleBar+2*margin+len(s)*cellHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d">`+"\n", wide, high, wide, high)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", ground)
	for i, colour := range []string{"#ef6b73", "#e0b465", "#8cc570"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="6" fill="%s"/>`+"\n", margin+6+20*i, titleBar/2+4, colour)
	}
	fmt.Fprintf(&b, `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d" fill="%s">`+"\n", fontSize, ink)
	for i, line := range s {
		for _, r := range line {
			drawSpan(&b, r, titleBar+margin+i*cellHeight)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// drawSpan draws text whose cells begin at the height top.
func drawSpan(b *strings.Builder, r span, top int) {
	foreground, background := r.style.foreground, r.style.background
	if r.style.reverse {
		if foreground == "" {
			foreground = ink
		}
		if background == "" {
			background = ground
		}
		foreground, background = background, foreground
	}
	x, cells := margin+float64(r.column)*cellWidth, width(r.text)
	if background != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, top, float64(cells)*cellWidth, cellHeight, background)
	}
	text := strings.TrimRight(r.text, " ")
	if text == "" {
		return
	}
	// A font that is not as wide as ours is stretched: columns stay columns.
	fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f" xml:space="preserve"`, x, top+fontSize, float64(width(text))*cellWidth)
	if foreground != "" {
		fmt.Fprintf(b, ` fill="%s"`, foreground)
	}
	if r.style.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if r.style.dim {
		b.WriteString(` opacity="0.65"`)
	}
	if r.style.underline {
		b.WriteString(` text-decoration="underline"`)
	}
	b.WriteByte('>')
	xml.EscapeText(b, []byte(text))
	b.WriteString("</text>\n")
}
