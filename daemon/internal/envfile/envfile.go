// Package envfile owns the grammar of environment-like files: the state files
// of machines, and os-release. It knows no keys and does no I/O; whoever reads
// a file that somebody else may write limits its size first.
package envfile

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrInvalid says that the input is no text: it has a NUL byte or is not UTF-8.
var ErrInvalid = errors.New("not UTF-8 text")

// An Assignment is one KEY=value with the quotes and escapes of the value undone.
type Assignment struct {
	Key   string
	Value string
}

// A List is the assignments of a file in order, repeated keys included.
type List []Assignment

// Get returns the value of the last assignment to key, and whether there is one.
func (l List) Get(key string) (value string, ok bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Key == key {
			return l[i].Value, true
		}
	}
	return "", false
}

// Map returns the list as a map. The last assignment to a key wins.
func (l List) Map() map[string]string {
	m := make(map[string]string, len(l))
	for _, a := range l {
		m[a.Key] = a.Value
	}
	return m
}

const (
	whitespace = " \t\r\n"
	newline    = "\r\n"
)

// Parse reads a whole file. A line without '=' is skipped, '#' and ';' begin a
// comment at the start of a line only, and a quoted part may span lines; an
// open quote ends with the file.
//
// Reference: env-file.c, parse_env_file_internal.
func Parse(input []byte) (List, error) {
	if bytes.IndexByte(input, 0) >= 0 || !utf8.Valid(input) {
		return nil, ErrInvalid
	}
	p := parser{rest: input}
	var list List
	for len(p.rest) > 0 {
		p.rest = bytes.TrimLeft(p.rest, whitespace)
		if len(p.rest) > 0 && (p.rest[0] == '#' || p.rest[0] == ';') {
			p.line()
			continue
		}
		if key, ok := p.key(); ok {
			list = append(list, Assignment{key, p.value()})
		}
	}
	return list, nil
}

// parser holds what has not been read yet.
type parser struct{ rest []byte }

// line takes what is left of the current line, without its end.
func (p *parser) line() []byte {
	end := bytes.IndexAny(p.rest, newline)
	if end < 0 {
		end = len(p.rest)
	}
	line := p.rest[:end]
	p.rest = p.rest[end:]
	return line
}

// key takes up to and including '='. Without one it takes the line.
func (p *parser) key() (key string, ok bool) {
	end := bytes.IndexAny(p.rest, "="+newline)
	if end < 0 || p.rest[end] != '=' {
		p.line()
		return "", false
	}
	key = string(bytes.TrimRight(p.rest[:end], whitespace))
	p.rest = p.rest[end+1:]
	return key, true
}

// value takes parts until the line ends. Quotes are special only where a part
// begins: a bare part runs to the end of the line.
func (p *parser) value() string {
	var value []byte
	for {
		p.rest = bytes.TrimLeft(p.rest, " \t")
		if len(p.rest) == 0 || isNewline(p.rest[0]) {
			return string(value)
		}
		switch p.rest[0] {
		case '\'':
			value = p.single(value)
		case '"':
			value = p.double(value)
		default:
			return string(p.bare(value))
		}
	}
}

func (p *parser) single(value []byte) []byte {
	body, rest, _ := bytes.Cut(p.rest[1:], []byte{'\''})
	p.rest = rest
	return append(value, body...)
}

// double undoes a backslash only before the characters that Quote escapes; at
// the end of a line it joins the next one.
func (p *parser) double(value []byte) []byte {
	in := p.rest[1:]
	for i := 0; i < len(in); i++ {
		switch c := in[i]; {
		case c == '"':
			p.rest = in[i+1:]
			return value
		case c != '\\' || i+1 == len(in):
			value = append(value, c)
		default:
			i++
			if needsEscape(in[i]) {
				value = append(value, in[i])
			} else if !isNewline(in[i]) {
				value = append(value, c, in[i])
			}
		}
	}
	p.rest = nil
	return value
}

// bare undoes every backslash. White space at the end is dropped unless it was
// escaped.
func (p *parser) bare(value []byte) []byte {
	keep := len(value)
	i := 0
	for ; i < len(p.rest) && !isNewline(p.rest[i]); i++ {
		c := p.rest[i]
		if c == '\\' {
			i++
			if i == len(p.rest) {
				break
			}
			if !isNewline(p.rest[i]) {
				value = append(value, p.rest[i])
				keep = len(value)
			}
			continue
		}
		value = append(value, c)
		if c != ' ' && c != '\t' {
			keep = len(value)
		}
	}
	p.rest = p.rest[i:]
	return value[:keep]
}

// Quote returns value as it stands behind '=': bare if nothing in it could be
// taken for syntax, by a shell either, and in double quotes otherwise.
//
// Reference: env-file.c, write_env_var.
func Quote(value string) string {
	if !strings.ContainsFunc(value, needsQuotes) {
		return value
	}
	var b strings.Builder
	b.Grow(len(value) + 8)
	b.WriteByte('"')
	for i := range len(value) {
		if needsEscape(value[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(value[i])
	}
	b.WriteByte('"')
	return b.String()
}

func needsQuotes(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("\"\\`$*?['()<>|&;!", r)
}

func needsEscape(c byte) bool { return c == '"' || c == '\\' || c == '`' || c == '$' }

func isNewline(c byte) bool { return c == '\n' || c == '\r' }
