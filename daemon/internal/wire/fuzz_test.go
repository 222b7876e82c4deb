package wire

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
)

func FuzzHeader(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(marshal(f, order))
		f.Add(marshal(f, order, "x", []pairOf{{"a", 1}}))
	}
	f.Add(marshalFields(f, rawField{99, dbus.MakeVariant(nested{
		Map: map[string][]int32{"a": {1}}, V: dbus.MakeVariant("x"),
	})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < fixedHeader {
			return
		}
		frame, err := parseFrame(b)
		if err != nil || frame.header > len(b) {
			return
		}
		h, err := parseHeader(frame, b[:frame.header])
		if err != nil {
			return
		}
		// What was understood is the same when it is written and read again.
		h.BigEndian = false
		sender := h.Sender
		h.Sender = "" // the bus adds it
		again := h.append(nil, 0)
		frame, err = parseFrame(again)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseHeader(frame, again)
		if err != nil || got != h {
			t.Fatalf("got %+v, %v, want %+v (sender %q)", got, err, h, sender)
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, value := range values {
			m := receive(f, marshal(f, order, value))
			f.Add(m.Signature, m.Body, m.BigEndian)
		}
	}
	f.Fuzz(func(t *testing.T, sig string, body []byte, big bool) {
		types, ok := SplitSignature(sig)
		if !ok || len(body) > 1<<16 {
			return
		}
		var d Decoder
		d.Reset(&Message{Header: Header{BigEndian: big}, Body: body})
		var e Encoder
		for _, one := range types {
			if _, err := checkShape(one); err != nil {
				return
			}
			goType, _ := goTypeOf(one, 0)
			c, err := CodecOf(goType)
			if err != nil {
				t.Fatal(err)
			}
			v := reflect.New(goType).Elem()
			c.Decode(&d, v)
			if d.Err() != nil {
				return
			}
			c.Encode(&e, v)
		}
		// What was read can be written, except for a descriptor that is none.
		if err := e.Err(); err != nil && d.Close() == nil {
			t.Fatalf("%q was read and cannot be written: %v", sig, err)
		}
	})
}

func FuzzSkip(f *testing.F) {
	for _, value := range values {
		m := receive(f, marshal(f, binary.LittleEndian, value))
		f.Add(m.Signature, m.Body)
	}
	f.Fuzz(func(t *testing.T, sig string, body []byte) {
		if !validSingle(sig) {
			return
		}
		skipped := Decoder{data: body}
		skipped.skipSingle(sig)

		if _, err := checkShape(sig); err != nil {
			return
		}
		goType, _ := goTypeOf(sig, 0)
		c, err := CodecOf(goType)
		if err != nil {
			t.Fatal(err)
		}
		var read Decoder
		read.Reset(&Message{Body: body})
		c.Decode(&read, reflect.New(goType).Elem())
		if read.Err() == nil && (skipped.Err() != nil || skipped.pos != read.pos) {
			t.Fatalf("%q: reading ends at %d, skipping at %d: %v", sig, read.pos, skipped.pos, skipped.Err())
		}
	})
}
