package wire

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// pair returns a connection as if it had greeted a bus, and the bus's end.
func pair(t testing.TB) (*Conn, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	c := connOn(t, ends[0])
	t.Cleanup(func() { ends[1].Close() })
	return c, ends[1]
}

// connOn returns a connection that has taken sock over.
func connOn(t testing.TB, sock *net.UnixConn) *Conn {
	t.Helper()
	s, err := newSocket(sock)
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(s)
	t.Cleanup(func() { c.Close() })
	return c
}

// marshal returns a call with the given body as godbus writes it.
func marshal(t testing.TB, order binary.ByteOrder, body ...any) []byte {
	t.Helper()
	return marshalWith(t, order, nil, body...)
}

func marshalWith(t testing.TB, order binary.ByteOrder, headers map[dbus.HeaderField]dbus.Variant, body ...any) []byte {
	t.Helper()
	m := &dbus.Message{
		Type:  dbus.TypeMethodCall,
		Flags: dbus.FlagAllowInteractiveAuthorization,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/example")),
			dbus.FieldInterface: dbus.MakeVariant("org.example.Interface"),
			dbus.FieldMember:    dbus.MakeVariant("Member"),
			dbus.FieldSender:    dbus.MakeVariant(":1.7"),
		},
		Body: body,
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	for field, value := range headers {
		m.Headers[field] = value
	}
	var buf bytes.Buffer
	if err := m.EncodeTo(&buf, order); err != nil {
		t.Fatal(err)
	}
	b := buf.Bytes()
	order.PutUint32(b[8:], 5) // godbus lets nobody set the serial number
	return b
}

// receive returns the message that b is.
func receive(t testing.TB, b []byte) *Message {
	t.Helper()
	c, bus := pair(t)
	go bus.Write(b)
	m, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// decodeAs reads the body of m as one value of type v.
func decodeAs(t testing.TB, m *Message, v reflect.Type) (any, error) {
	t.Helper()
	c, err := CodecOf(v)
	if err != nil {
		t.Fatal(err)
	}
	if m.Signature != c.Signature() {
		t.Fatalf("got signature %q, want %q", m.Signature, c.Signature())
	}
	var d Decoder
	d.Reset(m)
	value := reflect.New(v).Elem()
	c.Decode(&d, value)
	return value.Interface(), d.Close()
}
