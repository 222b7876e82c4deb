package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// A Header is what a message says about itself. What does not apply is zero.
type Header struct {
	Type        Type
	Flags       Flags
	BigEndian   bool
	Serial      uint32
	ReplySerial uint32
	Path        dbus.ObjectPath
	Interface   string
	Member      string
	ErrorName   string
	Destination string
	Sender      string
	Signature   string // of the body
	UnixFDs     uint32 // how many descriptors come with it
}

// Codes of the header fields.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSender      = 7
	fieldSignature   = 8
	fieldUnixFDs     = 9
)

// fixedHeader is the length of the part that says how long the rest is.
const fixedHeader = 16

// A frame is where a message's parts lie.
type frame struct {
	big    bool
	fields int // end of the fields
	header int // length of the header with its padding
	body   int // length of the body
}

// parseFrame reads the first fixedHeader bytes of a message.
func parseFrame(b []byte) (frame, error) {
	var f frame
	var order binary.ByteOrder = binary.LittleEndian
	switch b[0] {
	case 'l':
	case 'B':
		f.big, order = true, binary.BigEndian
	default:
		return f, fmt.Errorf("%w: unknown byte order %#x", errMalformed, b[0])
	}
	if b[3] != 1 {
		return f, fmt.Errorf("%w: unknown protocol version %d", errMalformed, b[3])
	}
	body, fields := uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[12:]))
	header := (fixedHeader + fields + 7) &^ 7
	if header+body > maxMessage {
		return f, fmt.Errorf("%w: %d bytes", errMalformed, header+body)
	}
	f.fields, f.header, f.body = int(fixedHeader+fields), int(header), int(body)
	return f, nil
}

// parseHeader reads the header b that f describes. The strings share one
// copy of b, so that any of them keeps the whole header in memory.
func parseHeader(f frame, b []byte) (Header, error) {
	d := Decoder{data: b[:f.fields], text: string(b[:f.fields]), big: f.big, pos: 8}
	h := Header{Type: Type(b[1]), Flags: Flags(b[2]), BigEndian: f.big, Serial: d.Uint32()}
	d.take(1, 4)
	for d.err == nil && d.pos < len(d.data) {
		d.take(8, 0)
		code := d.Byte()
		h.set(&d, code, d.str(int(d.Byte())))
	}
	if d.err == nil && h.Serial == 0 {
		d.malformed("no serial number")
	}
	return h, d.err
}

// set reads the value, of type sig, of the field with this code. It asks for
// less than a bus does, so that no peer can send what the bus takes for valid
// and we do not: that would end the connection.
func (h *Header) set(d *Decoder, code byte, sig string) {
	switch code {
	case fieldPath:
		h.Path = dbus.ObjectPath(d.headerString(sig, "o"))
	case fieldInterface:
		h.Interface = d.headerString(sig, "s")
	case fieldMember:
		h.Member = d.headerString(sig, "s")
	case fieldErrorName:
		h.ErrorName = d.headerString(sig, "s")
	case fieldDestination:
		h.Destination = d.headerString(sig, "s")
	case fieldSender:
		h.Sender = d.headerString(sig, "s")
	case fieldSignature:
		h.Signature = d.headerString(sig, "g")
	case fieldReplySerial:
		h.ReplySerial = d.headerNumber(sig)
	case fieldUnixFDs:
		h.UnixFDs = d.headerNumber(sig)
	default:
		d.skipSingle(sig)
	}
}

func (d *Decoder) headerString(sig, want string) string {
	switch {
	case sig != want:
		d.malformed("a header field is a %q and not a %q", sig, want)
		return ""
	case sig == "g":
		return d.str(int(d.Byte()))
	}
	return d.str(int(d.Uint32()))
}

func (d *Decoder) headerNumber(sig string) uint32 {
	if sig != "u" {
		d.malformed("a header field is a %q and not a number", sig)
	}
	return d.Uint32()
}

// append appends h as the header of a little-endian message with a body of
// that many bytes.
func (h *Header) append(dst []byte, body int) []byte {
	base := len(dst)
	dst = append(dst, 'l', byte(h.Type), byte(h.Flags), 1)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(body))
	dst = binary.LittleEndian.AppendUint32(dst, h.Serial)
	dst = append(dst, 0, 0, 0, 0)

	dst = appendString(dst, base, fieldPath, 'o', string(h.Path))
	dst = appendUint32(dst, base, fieldReplySerial, h.ReplySerial)
	dst = appendString(dst, base, fieldInterface, 's', h.Interface)
	dst = appendString(dst, base, fieldMember, 's', h.Member)
	dst = appendString(dst, base, fieldErrorName, 's', h.ErrorName)
	dst = appendString(dst, base, fieldDestination, 's', h.Destination)
	dst = appendUint32(dst, base, fieldUnixFDs, h.UnixFDs)
	if h.Signature != "" {
		dst = append(pad(dst, base), fieldSignature, 1, 'g', 0, byte(len(h.Signature)))
		dst = append(append(dst, h.Signature...), 0)
	}
	binary.LittleEndian.PutUint32(dst[base+12:], uint32(len(dst)-base-fixedHeader))
	return pad(dst, base)
}

func appendString(dst []byte, base int, code, sig byte, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(pad(dst, base), code, 1, sig, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	return append(append(dst, s...), 0)
}

func appendUint32(dst []byte, base int, code byte, v uint32) []byte {
	if v == 0 {
		return dst
	}
	dst = append(pad(dst, base), code, 1, 'u', 0)
	return binary.LittleEndian.AppendUint32(dst, v)
}

var zeros [8]byte

// pad makes the part of dst from base on a multiple of eight bytes long.
func pad(dst []byte, base int) []byte {
	return append(dst, zeros[:-(len(dst)-base)&7]...)
}
