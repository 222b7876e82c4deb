package inside

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode"

	"github.com/godbus/dbus/v5"
)

const (
	// maxReplyFields and maxReplyBody bound one message, bytes.
	maxReplyFields = 16 << 10
	maxReplyBody   = 64 << 10
	// maxReplyText bounds what is passed on of an error's text, bytes.
	maxReplyText = 1024
	// maxNameLength is that of the D-Bus specification, bytes.
	maxNameLength = 255

	fixedSize = 16 // of a message's header, with the length of the fields
)

// A reply is what we want to know of a received message.
type reply struct {
	kind      dbus.Type
	serial    uint32 // of the message it answers, 0 if none
	errorName string // a valid one
	text      string // printable, of an error or a property, "" if it is none
	number    int64  // of a property, 0 if it is none
	news      bool   // changed properties that do not say that a unit goes on
}

// readReply reads one message of any kind.
func readReply(r io.Reader) (reply, error) {
	var fixed [fixedSize]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return reply{}, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if fixed[0] == 'B' {
		order = binary.BigEndian
	}
	fields, body := order.Uint32(fixed[12:]), order.Uint32(fixed[4:])
	if fixed[0] != 'B' && fixed[0] != 'l' || fixed[3] != 1 {
		return reply{}, errNoSense
	}
	if fields > maxReplyFields || body > maxReplyBody {
		return reply{}, errTooMuch
	}
	rest := make([]byte, align(int(fields), 8)+int(body))
	if _, err := io.ReadFull(r, rest); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return reply{}, err
	}
	return parseReply(dbus.Type(fixed[1]), order, rest[:fields], rest[len(rest)-int(body):])
}

// parseReply reads the array of header fields and of the body an error's first
// string, or the number or text that is all there is.
func parseReply(kind dbus.Type, order binary.ByteOrder, fields, body []byte) (reply, error) {
	r := reply{kind: kind}
	c := cursor{order: order, rest: fields}
	signature := ""
	for !c.atEnd() {
		c.align(8)
		field, value, number := c.field()
		switch dbus.HeaderField(field) {
		case dbus.FieldErrorName:
			r.errorName = value
		case dbus.FieldReplySerial:
			r.serial = number
		case dbus.FieldSignature:
			signature = value
		}
	}
	if c.failed {
		return reply{}, errNoSense
	}
	b := cursor{order: order, rest: body}
	if kind == dbus.TypeSignal {
		r.news = signature == changedSignature && !goesOn(body)
	}
	if kind != dbus.TypeError {
		if signature == "v" {
			r.number, r.text = b.variant()
		}
		return r, nil
	}
	if !validErrorName(r.errorName) {
		r.errorName = "org.freedesktop.DBus.Error.Failed"
	}
	if strings.HasPrefix(signature, "s") {
		r.text = printable(b.text())
	}
	return r, nil
}

// changedSignature is that of PropertiesChanged.
const changedSignature = "sa{sv}as"

// goesOn reports whether the changed properties of a unit say that it is active,
// or about to be or not to be so.
func goesOn(changes []byte) bool {
	for _, state := range []string{"activating\x00", "\x00active\x00", "\x06active\x00"} { // or "inactive"
		if bytes.Contains(changes, []byte(state)) {
			return true
		}
	}
	return false
}

// A cursor reads D-Bus values of basic types; after a failure everything is
// zero. Values of header fields have no other types.
type cursor struct {
	order  binary.ByteOrder
	rest   []byte
	pos    int
	failed bool
}

func (c *cursor) atEnd() bool { return c.failed || len(c.rest) == 0 }

func (c *cursor) take(n int) []byte {
	if c.failed || n > len(c.rest) {
		c.failed = true
		return nil
	}
	taken := c.rest[:n]
	c.rest, c.pos = c.rest[n:], c.pos+n
	return taken
}

func (c *cursor) align(n int) { c.take(align(c.pos, n) - c.pos) }

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	c.align(4)
	if b := c.take(4); b != nil {
		return c.order.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	c.align(8)
	if b := c.take(8); b != nil {
		return c.order.Uint64(b)
	}
	return 0
}

// variant reads a variant of a number or a text, of those kinds that are asked
// for.
func (c *cursor) variant() (number int64, text string) {
	switch c.signature() {
	case "i":
		return int64(int32(c.uint32())), ""
	case "t":
		return int64(c.uint64()), ""
	case "s":
		return 0, printable(c.text())
	}
	return 0, ""
}

func (c *cursor) text() string {
	return c.terminated(int(c.uint32()))
}

func (c *cursor) signature() string {
	return c.terminated(int(c.byte()))
}

// terminated reads n bytes and the NUL behind them.
func (c *cursor) terminated(n int) string {
	if n >= len(c.rest) {
		c.failed = true
		return ""
	}
	text := c.take(n)
	if c.byte() != 0 {
		c.failed = true
	}
	return string(text)
}

// field reads a header field, whose value is a text or a number.
func (c *cursor) field() (field byte, text string, number uint32) {
	field = c.byte()
	switch c.signature() {
	case "s", "o":
		text = c.text()
	case "g":
		text = c.signature()
	case "u":
		number = c.uint32()
	default:
		c.failed = true
	}
	return field, text, number
}

func align(n, to int) int { return (n + to - 1) / to * to }

// validErrorName reports whether name may go over our own bus, which hangs up
// on whoever sends another.
func validErrorName(name string) bool {
	if len(name) > maxNameLength || !strings.Contains(name, ".") {
		return false
	}
	for element := range strings.SplitSeq(name, ".") {
		if !validVariable(element) {
			return false
		}
	}
	return true
}

// printable returns text fit for terminals, logs and our own bus.
func printable(text string) string {
	if len(text) > maxReplyText {
		text = text[:maxReplyText]
	}
	text = strings.ToValidUTF8(text, "?")
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
