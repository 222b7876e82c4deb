package gate

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/godbus/dbus/v5"
)

const (
	fixedHeader = 16      // bytes before the fields
	maxHeader   = 1 << 20 // bytes, more than any sensible header has
	maxMessage  = 1 << 27 // bytes, the limit of D-Bus
)

// errProtocol says that the bus does not speak D-Bus.
var errProtocol = errors.New("the bus sent what is no D-Bus message")

// A frame is how long the parts of a message are, in bytes.
type frame struct {
	order  binary.ByteOrder
	header int // with its padding
	body   int

	// Of a message that passes, once its header has been read:
	fds       int    // that godbus will look for
	signature string // of the body
}

// parseFrame reads the first 16 bytes of a message.
func parseFrame(b []byte) (frame, error) {
	var f frame
	switch b[0] {
	case 'l':
		f.order = binary.LittleEndian
	case 'B':
		f.order = binary.BigEndian
	default:
		return f, errProtocol
	}
	body, fields := uint64(f.order.Uint32(b[4:])), uint64(f.order.Uint32(b[12:]))
	if fixedHeader+fields+7+body > maxMessage {
		return f, errProtocol
	}
	f.header, f.body = align(fixedHeader+int(fields), 8), int(body)
	return f, nil
}

func align(n, to int) int { return (n + to - 1) / to * to }

// A header is what the gate looks at.
type header struct {
	kind        dbus.Type
	sender      string
	destination string
	member      string
	signature   string
	fds         int
}

// passes reports whether a client can have asked for the message. The bus
// delivers replies only to those who have called, and broadcasts only to those
// who have a match; but it delivers everything that has a destination. No
// signal that we wait for has descriptors.
//
// The bus may be a stranger's itself, as that in a machine is. Of its own signals
// those pass that godbus looks into, which panics if there is no name in them,
// and the one that clients wait for.
func (h header) passes() bool {
	switch h.kind {
	case dbus.TypeMethodReply, dbus.TypeError:
		return true
	case dbus.TypeSignal:
		if h.sender == busName {
			signature, known := busSignals[h.member]
			return h.fds == 0 && known && h.signature == signature
		}
		return h.fds == 0 && h.destination == ""
	}
	return false
}

// busSignals are what the bus's signals carry.
var busSignals = map[string]string{"NameAcquired": "s", "NameLost": "s", "NameOwnerChanged": "sss"}

// bearable reports whether godbus survives the descriptors that come with the
// message, if any, and hands them on: only replies have some. What variants hold
// is said in the body, which bearsBody looks at.
func (h header) bearable() bool {
	return h.fds == 0 ||
		h.kind == dbus.TypeMethodReply && strings.ContainsAny(h.signature, "hv") && bears(h.signature)
}

// bears reports whether godbus survives descriptors where a signature has them. It
// panics over elements of an array, and over keys or values of a map.
func bears(signature string) bool {
	for i := range len(signature) {
		if signature[i] == 'h' {
			before := signature[max(0, i-2):i]
			if strings.HasSuffix(before, "a") || strings.Contains(before, "{") {
				return false
			}
		}
	}
	return true
}

// bearsBody is bears for the variants of a message's body, such as those in which
// the bus says who somebody is.
func bearsBody(f frame, body []byte) bool {
	if f.fds == 0 || !strings.Contains(f.signature, "v") {
		return true
	}
	borne := true
	c := cursor{b: body, order: f.order, variant: func(signature string) { borne = borne && bears(signature) }}
	for rest := f.signature; rest != "" && !c.broken; {
		rest = c.skip(rest)
	}
	return borne && !c.broken
}

const busName = "org.freedesktop.DBus"

// parseHeader reads the header of a message up to its body.
func parseHeader(f frame, b []byte) (header, error) {
	h := header{kind: dbus.Type(b[1])}
	end := fixedHeader + int(f.order.Uint32(b[12:]))
	c := cursor{b: b[:end], pos: fixedHeader, order: f.order}
	for c.pos < end && !c.broken {
		c.align(8)
		field := dbus.HeaderField(c.byte())
		signature := c.short()
		switch {
		case field == dbus.FieldSender && signature == "s":
			h.sender = c.string()
		case field == dbus.FieldDestination && signature == "s":
			h.destination = c.string()
		case field == dbus.FieldMember && signature == "s":
			h.member = c.string()
		case field == dbus.FieldSignature && signature == "g":
			h.signature = c.short()
		case field == dbus.FieldUnixFDs && signature == "u":
			h.fds = int(c.uint32())
		default:
			c.skip(signature)
		}
	}
	if c.broken {
		return h, errProtocol
	}
	return h, nil
}
