package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestAHeaderIsReadInEitherByteOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		m := receive(t, marshalWith(t, order, map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(":1.9"),
			dbus.FieldReplySerial: dbus.MakeVariant(uint32(12)),
			dbus.FieldErrorName:   dbus.MakeVariant("org.example.Error"),
		}, "x", uint32(1)))
		want := Header{
			Type: TypeCall, Flags: AllowInteractiveAuthorization, BigEndian: order == binary.BigEndian, Serial: 5,
			ReplySerial: 12, Path: "/org/example", Interface: "org.example.Interface", Member: "Member",
			ErrorName: "org.example.Error", Destination: ":1.9", Sender: ":1.7", Signature: "su",
		}
		if diff := cmp.Diff(want, m.Header); diff != "" {
			t.Errorf("%v: %s", order, diff)
		}
	}
}

func TestAHeaderIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := Header{
		Type: TypeError, Flags: NoReplyExpected, Serial: 1 << 31, ReplySerial: 3, Path: "/", Interface: "a.b",
		Member: "C", ErrorName: "d.e", Destination: ":1.1", Signature: "a{sv}",
	}
	for base := range 8 {
		b := want.append(make([]byte, base), 0)[base:]
		if diff := cmp.Diff(want, receive(t, b).Header); diff != "" {
			t.Errorf("at %d: %s", base, diff)
		}
	}
}

// rawHeader is a header as the specification has it.
type rawHeader struct {
	Order, Type, Flags, Version byte
	Body, Serial                uint32
	Fields                      []rawField
}

type rawField struct {
	Code  byte
	Value dbus.Variant
}

// marshalFields returns a call that has only these header fields.
func marshalFields(t testing.TB, fields ...rawField) []byte {
	t.Helper()
	c, err := CodecOf(reflect.TypeFor[rawHeader]())
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	c.Encode(&e, reflect.ValueOf(rawHeader{'l', byte(TypeCall), 0, 1, 0, 5, fields}))
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	e.align(8)
	return e.Bytes()
}

func TestUnknownHeaderFieldsAreSkipped(t *testing.T) {
	t.Parallel()
	deep := dbus.MakeVariant(byte(1))
	for range 30 {
		deep = dbus.MakeVariant(deep)
	}
	for _, value := range append([]any{deep}, values...) {
		m := receive(t, marshalFields(t, rawField{99, dbus.MakeVariant(value)},
			rawField{fieldSender, dbus.MakeVariant(":1.7")},
			rawField{200, dbus.MakeVariant(value)}, rawField{fieldMember, dbus.MakeVariant("Member")}))
		if m.Sender != ":1.7" || m.Member != "Member" {
			t.Errorf("%T: got %+v", value, m.Header)
		}
	}
}

func TestEveryValueIsSkippedInEitherByteOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, value := range values {
			m := receive(t, marshal(t, order, value))
			d := Decoder{data: m.Body, big: m.BigEndian}
			d.skipSingle(m.Signature)
			if err := d.Close(); err != nil {
				t.Errorf("%v %T: %v", order, value, err)
			}
		}
	}
}

func TestAMalformedHeaderEndsTheConnection(t *testing.T) {
	t.Parallel()
	good := marshal(t, binary.LittleEndian)
	for name, spoil := range map[string]func(b []byte){
		"byte order":    func(b []byte) { b[0] = 'x' },
		"version":       func(b []byte) { b[3] = 2 },
		"body length":   func(b []byte) { b[7] = 0xff },
		"fields length": func(b []byte) { b[15] = 0xff },
		"serial":        func(b []byte) { copy(b[8:], "\x00\x00\x00\x00") },
		"field type":    func(b []byte) { b[fixedHeader+2] = 'd' },
		"field length":  func(b []byte) { b[fixedHeader+7] = 0x7f },
	} {
		b := bytes.Clone(good)
		spoil(b)
		c, bus := pair(t)
		go bus.Write(b)
		if m, err := c.Read(); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}
