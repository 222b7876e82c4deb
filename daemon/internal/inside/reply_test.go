package inside

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestReadReply(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxReplyText)
	tests := []struct {
		name string
		in   []byte
		want reply
	}{
		{"an answer", encode(t, dbus.TypeMethodReply, "", dbus.ObjectPath("/a")), reply{kind: dbus.TypeMethodReply, serial: 7}},
		{"a property", encode(t, dbus.TypeMethodReply, "", dbus.MakeVariant(int32(-5))), reply{kind: dbus.TypeMethodReply, serial: 7, number: -5}},
		{"a long property", encode(t, dbus.TypeMethodReply, "", dbus.MakeVariant(uint64(1<<40))), reply{kind: dbus.TypeMethodReply, serial: 7, number: 1 << 40}},
		{"a property that is a text", encode(t, dbus.TypeMethodReply, "", dbus.MakeVariant("5")), reply{kind: dbus.TypeMethodReply, serial: 7, text: "5"}},
		{"a property for the terminal", encode(t, dbus.TypeMethodReply, "", dbus.MakeVariant("x\x1b")), reply{kind: dbus.TypeMethodReply, serial: 7, text: "x?"}},
		{"a property that is a list", encode(t, dbus.TypeMethodReply, "", dbus.MakeVariant([]string{"5"})), reply{kind: dbus.TypeMethodReply, serial: 7}},
		{"an error", encode(t, dbus.TypeError, "a.b", "text"), reply{kind: dbus.TypeError, serial: 7, errorName: "a.b", text: "text"}},
		{"an error without a text", encode(t, dbus.TypeError, "a.b"), reply{kind: dbus.TypeError, serial: 7, errorName: "a.b", text: ""}},
		{"an error with another body", encode(t, dbus.TypeError, "a.b", uint32(1)), reply{kind: dbus.TypeError, serial: 7, errorName: "a.b", text: ""}},
		{"an error for the terminal", encode(t, dbus.TypeError, "a.b", "x\x1b[2J\u202ey\nz"), reply{kind: dbus.TypeError, serial: 7, errorName: "a.b", text: "x?[2J?y\nz"}},
		{"an error that goes on", encode(t, dbus.TypeError, "a.b", long), reply{kind: dbus.TypeError, serial: 7, errorName: "a.b", text: long[:maxReplyText]}},
	}
	for _, test := range tests {
		got, err := readReply(bytes.NewReader(test.in))
		if err != nil || got != test.want {
			t.Errorf("%s: got %v, %v\n%s", test.name, got, err, cmp.Diff(test.want, got, cmp.AllowUnexported(reply{})))
		}
	}
}

func TestErrorNamesThatOurBusWouldNotCarry(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "a", "a..b", "a.1b", "a.b\n", "a.é", strings.Repeat("a.", 200) + "a"} {
		if validErrorName(name) {
			t.Errorf("%q passes", name)
		}
	}
	if !validErrorName("org.freedesktop.systemd1.NoSuchUnit") {
		t.Error("an ordinary name does not pass")
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add(encode(f, dbus.TypeMethodReply, "", dbus.ObjectPath("/a")))
	f.Add(encode(f, dbus.TypeError, "a.b", "text"))
	f.Add(encode(f, dbus.TypeMethodReply, "", dbus.MakeVariant(uint64(1))))
	f.Add([]byte{'l', 3, 1, 1, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0xff, 0x3f, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := readReply(bytes.NewReader(in))
		if err != nil {
			return
		}
		if r.kind == dbus.TypeError && !validErrorName(r.errorName) {
			t.Errorf("error name %q", r.errorName)
		}
		if !utf8.ValidString(r.text) || len(r.text) > 3*maxReplyText {
			t.Errorf("text %q", r.text)
		}
	})
}

func encode(tb testing.TB, kind dbus.Type, name string, body ...any) []byte {
	tb.Helper()
	m := dbus.Message{Type: kind, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(7)),
		dbus.FieldSender:      dbus.MakeVariant(":1.0"),
	}}
	if name != "" {
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var buf bytes.Buffer
	if err := m.EncodeTo(&buf, binary.LittleEndian); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}
