// Package nspawnfile reads and changes .nspawn files, which hold the settings
// of one container each, and unit files, which have the same form. A change
// touches the lines it is about and keeps every other byte: comments, blank
// lines, order, spaces, and sections that are there twice. It does no I/O.
//
// Reference: systemd.nspawn(5), systemd.syntax(7).
package nspawnfile

import (
	"iter"
	"slices"
	"strings"
)

// Own is the section of machd's own settings. systemd passes over sections whose
// names begin with "X-".
const Own = "X-Machd"

// A File is the text of a file, in pieces.
type File struct {
	pieces []piece
}

// A piece is one assignment, header, comment or blank line, with the lines that
// continue it. Joined, the pieces are the file.
type piece struct {
	raw     string
	line    int    // that it begins in, from 1; 0 for one that was added
	section string // that it stands in, or begins
	header  bool
	key     string // "" if it is no assignment
	value   string
}

// An Entry is one assignment.
type Entry struct {
	Section, Key, Value string
	Line                int // that it begins in, from 1; 0 if it was added since
}

// Parse takes a file apart. There is no text that it refuses: what makes no
// sense is kept, and told by Problems.
func Parse(text string) *File {
	f := &File{}
	section, line := "", 1
	for text != "" {
		raw, rest := cutPiece(text)
		p := piece{raw: raw, line: line, section: section}
		p.read(line == 1)
		section = p.section
		f.pieces = append(f.pieces, p)
		line += strings.Count(raw, "\n")
		text = rest
	}
	return f
}

// cutPiece cuts off the first line, and the lines that continue it if it is an
// assignment: a backslash at a line's end joins the next one, and comments in
// between are passed over.
func cutPiece(text string) (raw, rest string) {
	end := endOfLine(text)
	if isComment(text[:end]) {
		return text[:end], text[end:]
	}
	for continued(text[:end]) && end < len(text) {
		next := end + endOfLine(text[end:])
		for isComment(text[end:next]) && next < len(text) {
			end, next = next, next+endOfLine(text[next:])
		}
		end = next
	}
	return text[:end], text[end:]
}

// endOfLine returns the length of the first line with its end.
func endOfLine(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

func isComment(line string) bool {
	line = strings.TrimLeft(line, whitespace)
	return line != "" && (line[0] == '#' || line[0] == ';')
}

// continued reports whether the last line of text is continued.
func continued(text string) bool {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	slashes := len(text) - len(strings.TrimRight(text, `\`))
	return slashes%2 == 1
}

// whitespace is what systemd takes for it.
const whitespace = " \t\n\r"

const byteOrderMark = "\ufeff"

// read finds out what a piece is.
func (p *piece) read(first bool) {
	text := p.raw
	if first {
		text = strings.TrimPrefix(text, byteOrderMark)
	}
	text = strings.Trim(joined(text), whitespace)
	switch {
	case text == "" || isComment(text):
	case text[0] == '[':
		p.header = true
		if strings.HasSuffix(text, "]") {
			p.section = text[1 : len(text)-1]
		} else {
			p.section = ""
		}
	default:
		if key, value, ok := strings.Cut(text, "="); ok {
			p.key, p.value = strings.TrimRight(key, whitespace), strings.TrimLeft(value, whitespace)
		}
	}
}

// joined returns the lines of a piece as one: a backslash at the end of a line
// stands for a space.
func joined(raw string) string {
	if !strings.Contains(raw, "\\\n") && !strings.Contains(raw, "\\\r\n") {
		return raw
	}
	var b strings.Builder
	open := false
	for line := range strings.Lines(raw) {
		if open && isComment(line) {
			continue
		}
		open = continued(line)
		if open {
			line = strings.TrimSuffix(strings.TrimRight(line, "\r\n"), `\`) + " "
		}
		b.WriteString(line)
	}
	return b.String()
}

// String returns the file.
func (f *File) String() string {
	var b strings.Builder
	for _, p := range f.pieces {
		b.WriteString(p.raw)
	}
	return b.String()
}

// Entries yields the assignments in their order.
func (f *File) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, p := range f.pieces {
			if p.key != "" && !yield(Entry{p.section, p.key, p.value, p.line}) {
				return
			}
		}
	}
}

// Values returns what is assigned to a key that can be there several times. An
// empty value takes back what stands before it.
func (f *File) Values(section, key string) []string {
	var values []string
	for e := range f.Entries() {
		switch {
		case e.Section != section || e.Key != key:
		case e.Value == "":
			values = nil
		default:
			values = append(values, e.Value)
		}
	}
	return values
}

// Value returns what is assigned to a key that has one value: the last one.
func (f *File) Value(section, key string) (value string, ok bool) {
	for e := range f.Entries() {
		if e.Section == section && e.Key == key {
			value, ok = e.Value, true
		}
	}
	return value, ok
}

// Set gives a key one value: the last assignment is changed where it stands,
// and the ones before it go. It does nothing if the key has that value alone.
func (f *File) Set(section, key, value string) {
	last := -1
	for i, p := range f.pieces {
		if p.is(section, key) {
			last = i
		}
	}
	if last < 0 {
		f.Add(section, key, value)
		return
	}
	if f.pieces[last].value != value {
		f.pieces[last].assign(value)
	}
	var kept []piece
	for i, p := range f.pieces {
		if i == last || !p.is(section, key) {
			kept = append(kept, p)
		}
	}
	f.pieces = kept
}

// Add assigns one more value to a key, after the key's others, or else at the
// end of the section, which is added if it is not there.
func (f *File) Add(section, key, value string) {
	at, found := -1, false
	for i, p := range f.pieces {
		switch {
		case p.is(section, key):
			at, found = i, true
		case p.section == section && (p.header || p.key != "") && !found:
			at = i
		}
	}
	added := piece{section: section, key: key, value: value, raw: key + "=" + value + "\n"}
	if at < 0 {
		f.endLine(len(f.pieces) - 1)
		head := "[" + section + "]\n"
		if len(f.pieces) > 0 {
			head = "\n" + head
		}
		f.pieces = append(f.pieces, piece{section: section, header: true, raw: head}, added)
		return
	}
	f.endLine(at)
	f.pieces = slices.Insert(f.pieces, at+1, added)
}

// Remove takes away the assignments of value to a key, or all of the key's if
// value is "", and reports whether there were any.
func (f *File) Remove(section, key, value string) bool {
	n := len(f.pieces)
	f.pieces = slices.DeleteFunc(f.pieces, func(p piece) bool {
		return p.is(section, key) && (value == "" || p.value == value)
	})
	return len(f.pieces) < n
}

func (p *piece) is(section, key string) bool {
	return p.key == key && key != "" && p.section == section
}

// assign changes the value and keeps what stands left of it.
func (p *piece) assign(value string) {
	left := p.raw[:strings.IndexByte(p.raw, '=')+1]
	rest := p.raw[len(left):]
	left += rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]
	p.value = value
	p.raw = left + value + "\n"
}

// endLine makes the piece end with a line's end, which the last of a file may
// lack, and with an empty line if it would go on in the next one.
func (f *File) endLine(i int) {
	if i < 0 {
		return
	}
	p := &f.pieces[i]
	if !strings.HasSuffix(p.raw, "\n") {
		p.raw += "\n"
	}
	if _, next := cutPiece(p.raw + "x"); next == "" {
		p.raw += "\n"
	}
}
