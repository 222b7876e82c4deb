package progress

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/machd/machd/client/internal/columns"
)

// Widths of a bar, in columns. What is narrower tells nothing, what is wider
// nothing more.
const (
	narrowest = 8
	widest    = 40
)

// shortest is how many columns of a title stay, whatever else there is to say.
const shortest = 6

// A style of a bar: done, half a column of it, and the rest. Braille has the
// same width in every locale, unlike blocks and lines.
type style struct {
	done, half, rest string
	open, close      string
	spinner          []string
}

var (
	ascii   = style{"#", "", "-", "[", "]", []string{"|", "/", "-", `\`}}
	braille = style{"⣿", "⡇", "⣀", "", "", []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}}
)

const (
	sgrBlue = "34"
	sgrGrey = "90"
)

// layout writes what fits into width columns: what it is and how far; then, as
// there is room, what is left, bytes, things, how fast it is, and a bar.
func (b *Bar) layout(s State, width int) string {
	facts := b.facts(s)
	for len(facts) > 0 && min(columns.Of(b.title), shortest)+fit(facts) > width {
		facts = without(facts)
	}
	text, room := b.title, width-fit(facts)
	switch {
	case room <= 0:
		text = ""
	case columns.Of(text) > room:
		text = columns.Truncate(text, room, columns.Ellipsis(b.out.Unicode))
	}
	room -= columns.Of(text) + 1 + b.frame()
	if s.fraction() >= 0 && room >= narrowest {
		text += " " + b.bar(s.fraction(), min(room, widest))
	}
	for _, f := range facts {
		text += " " + f.text
	}
	return text
}

// A fact is something that the line says, if there is room. The one of the
// lowest weight goes first.
type fact struct {
	text   string
	weight int
}

func fit(facts []fact) (width int) {
	for _, f := range facts {
		width += 1 + columns.Of(f.text)
	}
	return width
}

// without returns facts without the one that matters least.
func without(facts []fact) []fact {
	least := 0
	for i, f := range facts {
		if f.weight < facts[least].weight {
			least = i
		}
	}
	return append(append([]fact{}, facts[:least]...), facts[least+1:]...)
}

func (b *Bar) facts(s State) (facts []fact) {
	add := func(weight int, text string) {
		if text != "" {
			facts = append(facts, fact{text, weight})
		}
	}
	if f := s.fraction(); f >= 0 {
		add(5, fmt.Sprintf("%3d%%", int(f*100)))
	} else {
		spinner := b.style().spinner
		add(5, spinner[b.frames%len(spinner)])
	}
	add(3, b.bytes(s))
	add(2, count(s))
	if bytes, ok := b.rate.perSecond(); ok {
		add(1, b.out.Size(bytes)+"/s")
	}
	if left, ok := b.rate.left(); ok {
		add(4, clock(left)+" left")
	} else if s.fraction() < 0 {
		add(4, clock(b.now().Sub(b.begun)))
	}
	return facts
}

func (b *Bar) bytes(s State) string {
	switch {
	case s.Done == Unknown:
		return ""
	case s.Total == Unknown:
		return b.out.Size(s.Done)
	}
	return b.out.Size(s.Done) + "/" + b.out.Size(s.Total)
}

func count(s State) string {
	switch {
	case s.Count == Unknown:
		return ""
	case s.Of == Unknown:
		return fmt.Sprintf("%d %s", s.Count, s.Things)
	}
	return fmt.Sprintf("%d/%d %s", s.Count, s.Of, s.Things)
}

// clock writes a length of time as a clock does that has just been started.
func clock(d time.Duration) string {
	seconds := int64(math.Ceil(d.Seconds()))
	if seconds < 3600 {
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

func (b *Bar) bar(fraction float64, width int) string {
	st := b.style()
	halves := int(fraction * float64(2*width))
	text := strings.Repeat(st.done, halves/2)
	filled := halves / 2
	if st.half != "" && halves%2 == 1 {
		text += st.half
		filled++
	}
	rest := strings.Repeat(st.rest, width-filled)
	return st.open + b.coloured(text, sgrBlue) + b.coloured(rest, sgrGrey) + st.close
}

func (b *Bar) frame() int { return len(b.style().open) + len(b.style().close) }

func (b *Bar) style() style {
	if b.out.Unicode {
		return braille
	}
	return ascii
}

func (b *Bar) coloured(text, sgr string) string {
	if !b.out.Colour || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// plain writes all of it for a file.
func (b *Bar) plain(s State) string {
	text := b.title + ":"
	if f := s.fraction(); f >= 0 {
		text += fmt.Sprintf(" %d%%", int(f*100))
	}
	for _, more := range []string{b.bytes(s), count(s)} {
		if more != "" {
			text += " " + more
		}
	}
	if bytes, ok := b.rate.perSecond(); ok {
		text += " " + b.out.Size(bytes) + "/s"
	}
	if left, ok := b.rate.left(); ok {
		text += " " + b.out.Span(left) + " left"
	}
	if text == b.title+":" {
		text += " " + b.out.Span(b.now().Sub(b.begun))
	}
	return text
}
