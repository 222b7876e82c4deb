package gate

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

const (
	us       = ":1.7"
	stranger = ":1.666"
)

// A field is one of a header, also one that godbus would not write.
type field struct {
	Code  byte
	Value dbus.Variant
}

func with(code dbus.HeaderField, value any) field { return field{byte(code), dbus.MakeVariant(value)} }

// encode returns a message without a body.
func encode(t testing.TB, kind dbus.Type, order binary.ByteOrder, fields ...field) []byte {
	t.Helper()
	// The array is written in a body as it is in a header, but for the padding
	// behind its length.
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: []any{fields}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
		dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(fields)),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	f, err := parseFrame(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	array := b.Bytes()[f.header:]
	head := []byte{b.Bytes()[0], byte(kind), 0, 1, 0, 0, 0, 0, 7, 7, 7, 7}
	head = append(append(head, array[:4]...), array[8:]...)
	return append(head, make([]byte, align(len(head), 8)-len(head))...)
}

func TestHeadersAreReadAsGodbusWritesThem(t *testing.T) {
	t.Parallel()
	type mine struct {
		A byte
		B map[string]dbus.Variant
		C []struct{ X, Y uint64 }
	}
	sender, destination := with(dbus.FieldSender, stranger), with(dbus.FieldDestination, us)
	fds := with(dbus.FieldUnixFDs, uint32(3))
	bus, acquired := with(dbus.FieldSender, busName), with(dbus.FieldMember, "NameAcquired")
	name := with(dbus.FieldSignature, dbus.SignatureOf(""))
	later := []field{
		sender,
		with(10, dbus.ObjectPath("/x")),
		with(200, mine{1, map[string]dbus.Variant{"k": dbus.MakeVariant(mine{})}, make([]struct{ X, Y uint64 }, 3)}),
		with(201, []map[string]int16{{"a": 1}}),
		with(202, 1.5),
		with(203, dbus.MakeVariant(true)),
		with(204, dbus.SignatureOf(mine{})),
		with(205, [][]byte{{1}, {}}),
		destination,
	}
	for _, c := range []struct {
		name   string
		kind   dbus.Type
		fields []field
		want   header
		passes bool
	}{
		{"a broadcast", dbus.TypeSignal, []field{sender}, header{sender: stranger}, true},
		{"a signal to us", dbus.TypeSignal, []field{sender, destination}, header{sender: stranger, destination: us}, false},
		{
			"the bus's word", dbus.TypeSignal, []field{bus, acquired, name, destination},
			header{sender: busName, destination: us, member: "NameAcquired", signature: "s"}, true,
		},
		{
			"no word of it", dbus.TypeSignal, []field{bus, acquired, destination},
			header{sender: busName, destination: us, member: "NameAcquired"}, false,
		},
		{
			"a word of another bus", dbus.TypeSignal, []field{bus, with(dbus.FieldMember, "Odd"), destination},
			header{sender: busName, destination: us, member: "Odd"}, false,
		},
		{"a broadcast with descriptors", dbus.TypeSignal, []field{sender, fds}, header{sender: stranger, fds: 3}, false},
		{
			"a reply with descriptors", dbus.TypeMethodReply, []field{sender, fds, destination},
			header{sender: stranger, destination: us, fds: 3}, true,
		},
		{"an error", dbus.TypeError, []field{with(dbus.FieldErrorName, "a.B"), destination}, header{destination: us}, true},
		{"a call", dbus.TypeMethodCall, []field{with(dbus.FieldMember, "M"), destination}, header{destination: us, member: "M"}, false},
		{"fields of a later time", dbus.TypeSignal, later, header{sender: stranger, destination: us}, false},
	} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			b := encode(t, c.kind, order, c.fields...)
			f, err := parseFrame(b)
			if err != nil || f.header != len(b) || f.body != 0 {
				t.Fatalf("%s: the frame is %+v of %d bytes, %v", c.name, f, len(b), err)
			}
			c.want.kind = c.kind
			got, err := parseHeader(f, b)
			if diff := cmp.Diff(got, c.want, cmp.AllowUnexported(header{})); diff != "" || err != nil {
				t.Errorf("%s: %v\n%s", c.name, err, diff)
			}
			if got.passes() != c.passes {
				t.Errorf("%s: passes %v, want %v", c.name, got.passes(), c.passes)
			}
		}
	}
}

func TestDescriptorsThatGodbusDoesNotBear(t *testing.T) {
	t.Parallel()
	for signature, want := range map[string]bool{
		"v": true, "hv": true, "a{sv}h": true, "h(sa(v))": true, // the body says more
		"h": true, "hs": true, "ha(h)s": true, "a{s(h)}h": true, "(sh)": true, "a{s(sh)}": true, "aa(h)": true,
		"": false, "s": false, "ah": false, "aah": false, "hah": false, "a{sh}": false, "a{hs}": false, "a{hh}": false,
		"a{sah}": false, "(ah)": false,
	} {
		h := header{kind: dbus.TypeMethodReply, signature: signature, fds: 1}
		if got := h.bearable(); got != want {
			t.Errorf("%q: %t, want %t", signature, got, want)
		}
		h.fds = 0
		if !h.bearable() {
			t.Errorf("%q without any is not borne", signature)
		}
		h.kind, h.fds = dbus.TypeError, 1
		if h.bearable() {
			t.Errorf("%q of an error is borne", signature)
		}
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	t.Parallel()
	good := encode(t, dbus.TypeSignal, binary.LittleEndian, with(dbus.FieldSender, stranger))
	for name, spoil := range map[string]func(b []byte){
		"another byte order":      func(b []byte) { b[0] = 'x' },
		"a body beyond the limit": func(b []byte) { b[7] = 0xff },
		"a header beyond it":      func(b []byte) { b[15] = 0xff },
		"a string that is longer": func(b []byte) { b[20] = 0xff },
		"a type that is none":     func(b []byte) { b[18] = '!'; b[16] = 99 },
		"an unfinished struct":    func(b []byte) { b[18] = '('; b[16] = 99 },
	} {
		b := bytes.Clone(good)
		spoil(b)
		f, err := parseFrame(b)
		if err == nil {
			_, err = parseHeader(f, b)
		}
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(encode(f, dbus.TypeSignal, order, with(dbus.FieldSender, stranger), with(dbus.FieldDestination, us),
			with(dbus.FieldPath, dbus.ObjectPath("/a")), with(dbus.FieldInterface, "a.b"), with(dbus.FieldMember, "C")))
		f.Add(encode(f, dbus.TypeError, order, with(200, []map[string]dbus.Variant{{"a": dbus.MakeVariant([]int64{1})}})))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < fixedHeader {
			return
		}
		frame, err := parseFrame(b)
		if err != nil || frame.header > len(b) {
			return
		}
		if frame.header < fixedHeader || frame.header%8 != 0 || frame.header+frame.body > maxMessage {
			t.Errorf("%+v is no frame", frame)
		}
		h, err := parseHeader(frame, b[:frame.header])
		if err != nil {
			return
		}
		m, err := dbus.DecodeMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		sender, _ := m.Headers[dbus.FieldSender].Value().(string)
		destination, _ := m.Headers[dbus.FieldDestination].Value().(string)
		if h.kind != m.Type || h.sender != sender || h.destination != destination {
			t.Errorf("%+v is %v to godbus", h, m)
		}
	})
}
