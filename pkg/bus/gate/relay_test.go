package gate

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// However much the client has written before the gate reads it, and however
// little the bus reads at once: descriptors arrive with the bytes of their own
// message.
func TestDescriptorsLeaveWithTheirOwnMessage(t *testing.T) {
	t.Parallel()
	godbus, client := pair(t)
	bus, gate := pair(t)

	greeting := "\x00AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
	write(t, godbus, []byte(greeting))
	var ends []int // where each message ends
	var want []int // how many descriptors it has
	at := 0
	for _, m := range []struct {
		size, fds int
	}{{10, 0}, {3000, 0}, {100, 1}, {0, 0}, {20, 2}, {5000, 3}, {100_000, 0}, {70_000, 1}, {1, 0}} {
		b := callOf(t, m.size)
		write(t, godbus, b, make([]int, m.fds)...)
		at += len(b)
		ends, want = append(ends, at), append(want, m.fds)
	}
	relay(newStream(gate), newStream(client))

	got := make([]int, len(ends))
	for pos, i := 0, 0; i < len(ends); {
		n, fds := readSome(t, bus)
		pos += n
		for i < len(ends)-1 && pos > ends[i] {
			i++
		}
		got[i] += fds // of the message that the read has ended in
		if pos == ends[len(ends)-1] {
			break
		}
	}
	for i := range ends {
		if got[i] != want[i] {
			t.Errorf("with what ends at %d came %d descriptors, want %d", ends[i], got[i], want[i])
		}
	}
}

// readSome reads as little as a bus may, and returns how many descriptors came
// along.
func readSome(t *testing.T, bus *net.UnixConn) (n, fds int) {
	t.Helper()
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	n, oobn, _, _, err := bus.ReadMsgUnix(make([]byte, 64), oob)
	if err != nil {
		t.Fatal(err)
	}
	came, err := descriptors(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	closeAll(came)
	return n, len(came)
}

// callOf is a call with so much text.
func callOf(t *testing.T, size int) []byte {
	t.Helper()
	m := &dbus.Message{Type: dbus.TypeMethodCall, Body: []any{strings.Repeat("x", size)}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/")),
		dbus.FieldMember:    dbus.MakeVariant("M"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("")),
	}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, to *net.UnixConn, b []byte, fds ...int) {
	t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if n, _, err := to.WriteMsgUnix(b, oob, nil); err != nil || n != len(b) {
		t.Fatalf("wrote %d bytes of %d: %v", n, len(b), err)
	}
}

// pair returns two sockets that are connected, with room for what the tests
// write before anybody reads.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns[i] = conn.(*net.UnixConn)
		if err := conns[i].SetWriteBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	return conns[0], conns[1]
}
