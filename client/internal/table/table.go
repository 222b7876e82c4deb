// Package table lays out rows of text in columns. It knows cells and widths,
// and nothing of what they mean.
package table

import (
	"slices"
	"strings"

	"github.com/machd/machd/client/internal/columns"
)

// A Cell is one text, of several lines perhaps.
type Cell struct {
	Text  string
	Style string // an SGR sequence's parameters for when there is colour, such as "90"
}

// A Table is columns with headers and rows of as many cells.
type Table struct {
	Headers []string
	Right   []bool // per column: aligned to the right; nil is to the left
	Keep    []bool // per column: narrowed only when the others cannot be any more; nil is none
	Rows    [][]Cell
}

// Layout says how to draw a table.
type Layout struct {
	Width    int    // 0 is as wide as needed
	Header   bool   // draw the headers
	Colour   bool   // draw styles
	Ellipsis string // what stands for text that is cut off
}

// headerStyle is underlined.
const headerStyle = "4"

// Draw returns the table as lines, each ended with a newline. A table wider
// than the layout allows is narrowed evenly; the columns that need less than
// their share keep what they need.
func (t *Table) Draw(l Layout) string {
	rows := make([][]Cell, 0, len(t.Rows)+1)
	if l.Header {
		header := make([]Cell, len(t.Headers))
		for i, text := range t.Headers {
			header[i] = Cell{Text: text, Style: headerStyle}
		}
		rows = append(rows, header)
	}
	rows = append(rows, t.Rows...)

	widths := t.widths(rows, l.Width)
	var b strings.Builder
	for i, row := range rows {
		t.drawRow(&b, row, widths, l, l.Header && i == 0)
	}
	return b.String()
}

func (t *Table) drawRow(b *strings.Builder, row []Cell, widths []int, l Layout, header bool) {
	lines := make([][]string, len(row))
	height := 1
	for i, cell := range row {
		lines[i] = strings.Split(cell.Text, "\n")
		height = max(height, len(lines[i]))
	}
	for y := range height {
		var line strings.Builder
		for x, cell := range row {
			text := ""
			if y < len(lines[x]) {
				text = columns.Truncate(lines[x][y], widths[x], l.Ellipsis)
			}
			padding := strings.Repeat(" ", widths[x]-columns.Of(text))
			if x > 0 {
				line.WriteByte(' ')
			}
			switch {
			case t.Right != nil && t.Right[x]:
				text = padding + text
			case x < len(row)-1 || header && l.Colour:
				text += padding
			}
			line.WriteString(styled(text, cell.Style, l.Colour))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
}

func styled(text, style string, colour bool) string {
	if !colour || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// widths returns the columns' widths in a table of the given width.
func (t *Table) widths(rows [][]Cell, width int) []int {
	need := make([]int, len(t.Headers))
	total := len(need) - 1
	for i := range need {
		need[i] = 1 // of empty cells too, as in tables of systemd's commands
	}
	for _, row := range rows {
		for i, cell := range row {
			for line := range strings.SplitSeq(cell.Text, "\n") {
				need[i] = max(need[i], columns.Of(line))
			}
		}
	}
	for _, n := range need {
		total += n
	}
	if width <= 0 || total <= width {
		return need
	}
	return t.narrowed(need, width-(len(need)-1))
}

// narrowed narrows the columns that need not be kept, as long as that leaves
// each of them some room.
func (t *Table) narrowed(need []int, room int) []int {
	var open []int // indices of columns that are narrowed
	rest := room
	for i, n := range need {
		if t.Keep != nil && t.Keep[i] {
			rest -= n
		} else {
			open = append(open, i)
		}
	}
	if len(open) == len(need) || rest < len(open)*minWidth {
		return narrow(need, room)
	}
	widths := slices.Clone(need)
	some := make([]int, len(open))
	for i, x := range open {
		some[i] = need[x]
	}
	for i, n := range narrow(some, rest) {
		widths[open[i]] = n
	}
	return widths
}

// minWidth is how wide other columns have to be on average for one to be kept.
const minWidth = 4

// narrow shares room between columns that need more than there is. Each column
// has one cell at least.
func narrow(need []int, room int) []int {
	widths := make([]int, len(need))
	for i := range widths {
		widths[i] = min(1, need[i])
		room -= widths[i]
	}
	open := len(need)
	settled := make([]bool, len(need))
	// Columns that need less than their share give the rest to the others, who
	// then have a larger share, so look again until none does.
	for again := true; again; {
		again = false
		for i := range need {
			if settled[i] || widths[i]+share(room, open) < need[i] {
				continue
			}
			room -= need[i] - widths[i]
			widths[i], settled[i] = need[i], true
			open--
			again = true
		}
	}
	for i := range need {
		if !settled[i] {
			extra := share(room, open)
			widths[i] += extra
			room -= extra
			open--
		}
	}
	return widths
}

func share(room, columns int) int {
	if columns == 0 || room <= 0 {
		return 0
	}
	return room / columns
}
