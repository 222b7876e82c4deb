package vtable_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/wire"
)

// A raw is a client without a codec of ours: it writes bytes, and reads with
// godbus.
type raw struct {
	t      testing.TB
	sock   net.Conn
	reader *bufio.Reader
}

func newRaw(t testing.TB, address string) *raw {
	t.Helper()
	path := strings.TrimPrefix(strings.Split(address, ",")[0], "unix:path=")
	var dialer net.Dialer
	sock, err := dialer.DialContext(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	r := &raw{t: t, sock: sock, reader: bufio.NewReader(sock)}
	r.write([]byte("\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"))
	for _, want := range []string{"DATA", "OK"} {
		if line, err := r.reader.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	r.write(godbusCall(t, binary.LittleEndian, 1, wire.BusName, wire.BusPath, "Hello"))
	return r
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if _, err := r.sock.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the next message's header and body.
func (r *raw) read() *wire.Message {
	r.t.Helper()
	m, err := dbus.DecodeMessage(r.reader)
	if err != nil {
		r.t.Fatal(err)
	}
	got := &wire.Message{Header: wire.Header{Type: wire.Type(m.Type)}}
	got.ReplySerial, _ = m.Headers[dbus.FieldReplySerial].Value().(uint32)
	got.ErrorName, _ = m.Headers[dbus.FieldErrorName].Value().(string)
	if len(m.Body) == 1 {
		if n, ok := m.Body[0].(int32); ok {
			got.Body = binary.LittleEndian.AppendUint32(nil, uint32(n))
		}
	}
	return got
}

// godbusCall returns a call as godbus writes it.
func godbusCall(t testing.TB, order binary.ByteOrder, serial uint32, to string, path dbus.ObjectPath, member string, body ...any) []byte {
	t.Helper()
	iface := to
	if to == busName {
		iface = worldName
	}
	m := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
		Body: body,
	}
	return marshalGodbus(t, m, serial, order)
}

// marshalGodbus returns m as godbus writes it, little-endian by default.
func marshalGodbus(t testing.TB, m *dbus.Message, serial uint32, orders ...binary.ByteOrder) []byte {
	t.Helper()
	order := binary.ByteOrder(binary.LittleEndian)
	if len(orders) > 0 {
		order = orders[0]
	}
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	var buf bytes.Buffer
	if err := m.EncodeTo(&buf, order); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	order.PutUint32(b[8:], serial) // godbus lets nobody set it
	return b
}
