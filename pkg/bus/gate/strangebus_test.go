package gate_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus/gate"
)

const busName = "org.freedesktop.DBus"

// playBus is a bus that lets everybody in and says what a test has it say. The
// first message of the client, which it waits for, has the serial number 1.
func playBus(t *testing.T, say func(to *net.UnixConn)) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		answers := "OK 0123\r\n"
		for line := ""; line != "BEGIN\r\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
			if line == "NEGOTIATE_UNIX_FD\r\n" {
				answers += "AGREE_UNIX_FD\r\n"
			}
		}
		io.WriteString(conn, answers)
		if _, err := in.ReadByte(); err != nil {
			return
		}
		say(conn)
		io.Copy(io.Discard, in)
	}()
	return "unix:path=" + path
}

// fromBus is a message of the bus itself.
func fromBus(kind dbus.Type, member string, body ...any) *dbus.Message {
	m := &dbus.Message{Type: kind, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldSender: dbus.MakeVariant(busName),
	}}
	switch kind {
	case dbus.TypeSignal:
		m.Headers[dbus.FieldPath] = dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus"))
		m.Headers[dbus.FieldInterface] = dbus.MakeVariant(busName)
		m.Headers[dbus.FieldMember] = dbus.MakeVariant(member)
	case dbus.TypeError:
		m.Headers[dbus.FieldErrorName] = dbus.MakeVariant("org.example.Odd")
		fallthrough
	case dbus.TypeMethodReply:
		m.Headers[dbus.FieldReplySerial] = dbus.MakeVariant(uint32(1))
	}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

// deliver sends a message that says it has so many descriptors, and as many of
// /dev/null as it has.
func deliver(t *testing.T, to *net.UnixConn, m *dbus.Message, says, has int) {
	if says > 0 {
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(says))
	}
	var b bytes.Buffer
	if _, err := m.EncodeToWithFDs(&b, binary.LittleEndian); err != nil {
		t.Error(err)
		return
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Error(err)
		return
	}
	defer null.Close()
	var rights []byte
	if has > 0 {
		fds := make([]int, has)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, _ = to.WriteMsgUnix(b.Bytes(), rights, nil) // the client may have hung up
}

// A bus may be that of a machine whose root means harm. Each of these makes
// godbus panic, or stays open in it.
func TestAnswersThatGodbusDoesNotBearEndTheConnection(t *testing.T) {
	fd := dbus.UnixFD(0)
	for what, c := range map[string]struct {
		message   *dbus.Message
		says, has int
	}{
		"an array of descriptors":       {fromBus(dbus.TypeMethodReply, "", []dbus.UnixFD{fd}), 1, 1},
		"a map of descriptors":          {fromBus(dbus.TypeMethodReply, "", map[string]dbus.UnixFD{"a": fd}), 1, 1},
		"a map by descriptors":          {fromBus(dbus.TypeMethodReply, "", map[dbus.UnixFD]string{fd: "a"}), 1, 1},
		"an array in a variant":         {fromBus(dbus.TypeMethodReply, "", dbus.MakeVariant([]dbus.UnixFD{fd})), 1, 1},
		"an array in a map's variant":   {fromBus(dbus.TypeMethodReply, "", map[string]any{"a": fd, "b": []dbus.UnixFD{fd}}), 1, 1},
		"an array in two variants":      {fromBus(dbus.TypeMethodReply, "", dbus.MakeVariant(dbus.MakeVariant([]dbus.UnixFD{fd}))), 1, 1},
		"a variant behind another map":  {fromBus(dbus.TypeMethodReply, "", map[string]string{"a": "b"}, []any{uint64(1), "x", map[string]dbus.UnixFD{"a": fd}}), 1, 1},
		"an error with an array":        {fromBus(dbus.TypeError, "", []dbus.UnixFD{fd}), 1, 1},
		"fewer than are said":           {fromBus(dbus.TypeMethodReply, "", fd, fd), 2, 1},
		"more than are said":            {fromBus(dbus.TypeMethodReply, "", fd), 1, 2},
		"none said, one there":          {fromBus(dbus.TypeMethodReply, "", "text"), 0, 1},
		"a text with descriptors":       {fromBus(dbus.TypeMethodReply, "", "text"), 2, 2},
		"nothing but descriptors":       {fromBus(dbus.TypeMethodReply, ""), 2, 2},
		"an error with some beside it":  {fromBus(dbus.TypeError, "", "text"), 2, 2},
		"a reply of nothing, with more": {fromBus(dbus.TypeMethodReply, "", "text", uint32(7)), 1, 1},
	} {
		before := descriptors(t)
		address := playBus(t, func(to *net.UnixConn) { deliver(t, to, c.message, c.says, c.has) })
		conn, err := gate.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Auth(nil); err != nil {
			t.Fatal(err)
		}
		if err := conn.Hello(); err == nil {
			t.Errorf("%s: it was taken for an answer", what)
		}
		conn.Close()
		for end := time.Now().Add(10 * time.Second); descriptors(t) > before+1; time.Sleep(time.Millisecond) { // the listener
			if time.Now().After(end) {
				t.Fatalf("%s: %d descriptors were left open", what, descriptors(t)-before)
			}
		}
	}
}

// The bus says who somebody is in variants, of which one is a descriptor.
func TestVariantsWithADescriptorPass(t *testing.T) {
	said := map[string]dbus.Variant{
		"ProcessFD": dbus.MakeVariant(dbus.UnixFD(0)), "UnixUserID": dbus.MakeVariant(uint32(7)),
		"UnixGroupIDs": dbus.MakeVariant([]uint32{1, 2, 3}), "More": dbus.MakeVariant(map[string]dbus.Variant{"a": dbus.MakeVariant(uint64(1))}),
	}
	address := playBus(t, func(to *net.UnixConn) { deliver(t, to, fromBus(dbus.TypeMethodReply, "", said), 1, 1) })
	conn, err := gate.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Auth(nil); err != nil {
		t.Fatal(err)
	}
	var got map[string]dbus.Variant
	call := conn.BusObject().Call(busName+".GetConnectionCredentials", 0, ":1.1")
	if err := call.Store(&got); err != nil {
		t.Fatal(err)
	}
	fd, ok := got["ProcessFD"].Value().(dbus.UnixFD)
	if !ok || len(got) != len(said) {
		t.Fatalf("got %v", got)
	}
	if err := unix.Close(int(fd)); err != nil {
		t.Error(err)
	}
}

func TestSignalsOfTheBusAreWhatTheyAre(t *testing.T) {
	t.Parallel()
	for name, dialer := range dialers {
		address := playBus(t, func(to *net.UnixConn) {
			deliver(t, to, fromBus(dbus.TypeMethodReply, "", ":1.1"), 0, 0)
			for _, member := range []string{"NameAcquired", "NameLost", "NameOwnerChanged"} {
				deliver(t, to, fromBus(dbus.TypeSignal, member), 0, 0)
				deliver(t, to, fromBus(dbus.TypeSignal, member, uint32(1)), 0, 0)
				deliver(t, to, fromBus(dbus.TypeSignal, member, []string{"a"}), 0, 0)
			}
			deliver(t, to, fromBus(dbus.TypeSignal, "Odd", "a"), 0, 0)
			deliver(t, to, fromBus(dbus.TypeSignal, "NameOwnerChanged", "a", "", ":1.1"), 0, 0)
		})
		conn, err := dialer(t.Context(), address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		signals := make(chan *dbus.Signal, 20)
		conn.Signal(signals)
		if err := conn.Auth(nil); err != nil {
			t.Fatal(err)
		}
		if err := conn.Hello(); err != nil {
			t.Fatal(err)
		}
		if s := <-signals; s == nil || s.Name != busName+".NameOwnerChanged" || len(s.Body) != 3 {
			t.Errorf("%s: got %+v", name, s)
		}
	}
}
