package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
)

// A Decoder reads the values of one body. After the first error it only
// returns zero values; Err and Close tell.
type Decoder struct {
	data []byte
	pos  int
	big  bool  // big-endian
	fds  []int // what the message brought; they stay the message's
	// text, if set, is data as a string whose parts are returned uncopied.
	text  string
	depth int
	room  int // bytes that may still be allocated for values
	err   error
}

// Reset makes d read the body of m.
func (d *Decoder) Reset(m *Message) {
	*d = Decoder{data: m.Body, big: m.BigEndian, fds: m.FDs, room: decodedRoom(len(m.Body))}
}

// decodedRoom bounds what n bytes may become. A Variant is 32 bytes made of
// four, and a list of those is what a hostile sender sends.
func decodedRoom(n int) int { return 8*n + 64<<10 }

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Close returns the first error, and an error if anything is left to read.
func (d *Decoder) Close() error {
	if d.err == nil && d.pos != len(d.data) {
		d.malformed("the body is longer than its signature says")
	}
	return d.err
}

func (d *Decoder) malformed(format string, args ...any) {
	d.fail(fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...))
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// alloc notes that n bytes are going to be allocated.
func (d *Decoder) alloc(n int) bool {
	if d.room -= n; d.room < 0 {
		d.fail(fmt.Errorf("%w: the arguments take too much memory", ErrLimit))
	}
	return d.err == nil
}

// take returns the next n bytes after aligning to align, nil when there are
// fewer.
func (d *Decoder) take(align, n int) []byte {
	if d.err != nil {
		return nil
	}
	at := (d.pos + align - 1) &^ (align - 1)
	if n < 0 || n > len(d.data)-at {
		d.malformed("it ends in the middle of a value")
		return nil
	}
	d.pos = at + n
	return d.data[at:d.pos]
}

// Byte reads a y.
func (d *Decoder) Byte() byte {
	if b := d.take(1, 1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads a q.
func (d *Decoder) Uint16() uint16 {
	b := d.take(2, 2)
	switch {
	case b == nil:
		return 0
	case d.big:
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// Uint32 reads a u.
func (d *Decoder) Uint32() uint32 {
	b := d.take(4, 4)
	switch {
	case b == nil:
		return 0
	case d.big:
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// Uint64 reads a t.
func (d *Decoder) Uint64() uint64 {
	b := d.take(8, 8)
	switch {
	case b == nil:
		return 0
	case d.big:
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// Float64 reads a d.
func (d *Decoder) Float64() float64 { return math.Float64frombits(d.Uint64()) }

// Bool reads a b.
func (d *Decoder) Bool() bool {
	v := d.Uint32()
	if v > 1 {
		d.malformed("%d is no boolean", v)
	}
	return v == 1
}

// Text reads an s.
func (d *Decoder) Text() string {
	s := d.str(int(d.Uint32()))
	if !validText(s) {
		d.malformed("a string is not valid UTF-8 or contains a zero byte")
		return ""
	}
	return s
}

// ObjectPath reads an o.
func (d *Decoder) ObjectPath() dbus.ObjectPath {
	p := d.str(int(d.Uint32()))
	if d.err == nil && !validPath(p) {
		d.malformed("invalid object path")
		return ""
	}
	return dbus.ObjectPath(p)
}

// Signature reads a g.
func (d *Decoder) Signature() string {
	s := d.str(int(d.Byte()))
	if !validSignature(s) {
		d.malformed("invalid signature")
		return ""
	}
	return s
}

// UnixFD reads an h. The descriptor stays the message's.
func (d *Decoder) UnixFD() dbus.UnixFD {
	i := d.Uint32()
	if d.err != nil {
		return -1
	}
	if uint64(i) >= uint64(len(d.fds)) {
		d.malformed("descriptor %d of %d", i, len(d.fds))
		return -1
	}
	return dbus.UnixFD(d.fds[i])
}

// str reads n bytes and the zero byte behind them.
func (d *Decoder) str(n int) string {
	b := d.take(1, n+1)
	if b == nil {
		return ""
	}
	if b[n] != 0 {
		d.malformed("a string does not end with a zero byte")
		return ""
	}
	if d.text != "" {
		return d.text[d.pos-n-1 : d.pos-1]
	}
	if !d.alloc(n) {
		return ""
	}
	return string(b[:n])
}

func validText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// array reads the length of an array of elements aligned to align, and
// returns where it ends.
func (d *Decoder) array(align int) (end int) {
	n := int(d.Uint32())
	d.take(align, 0)
	if d.err == nil && n > len(d.data)-d.pos {
		d.malformed("an array is longer than the message")
	}
	if d.err != nil {
		return d.pos
	}
	return d.pos + n
}

// more reports whether the array that ends at end has another element, and
// complains when an element reached beyond.
func (d *Decoder) more(end int) bool {
	if d.err == nil && d.pos > end {
		d.malformed("an element is longer than its array")
	}
	return d.err == nil && d.pos < end
}

// enter notes that a container begins; leave, that it ends.
func (d *Decoder) enter() bool {
	if d.depth++; d.depth > maxDepth {
		d.fail(fmt.Errorf("%w: containers are nested too deep", ErrLimit))
	}
	return d.err == nil
}

func (d *Decoder) leave() { d.depth-- }
