package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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

// bulk returns a call with that many bytes of body.
func bulk(path string, body int, fds uint32) []byte {
	h := Header{Type: TypeCall, Serial: 5, Path: dbus.ObjectPath(path), UnixFDs: fds, Signature: "ay"}
	return append(h.append(nil, body), make([]byte, body)...)
}

func TestMessagesAreCutOutOfAnyStream(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	sizes := []int{0, 1, 100, bufferSize - 1, bufferSize, 3 * bufferSize, 7, MaxBody, 0}
	go func() {
		for _, size := range sizes {
			b := bulk("/", size, 0)
			for len(b) > 0 {
				n := min(len(b), 1+size/3+len(b)%1000)
				bus.Write(b[:n])
				b = b[n:]
			}
		}
		bus.Close()
	}()
	for _, size := range sizes {
		m, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Body) != size || m.Oversized {
			t.Errorf("got %d bytes (oversized: %v), want %d", len(m.Body), m.Oversized, size)
		}
	}
	if _, err := c.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end", err)
	}
}

func TestALongBodyIsSkippedAndALongHeaderPassedOver(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	stream := slices.Concat(
		bulk("/first", 5*MaxBody, 0),
		bulk(strings.Repeat("M", maxHeader-1000), 0, 0),
		bulk(strings.Repeat("M", 2*maxHeader), 3*MaxBody, 0),
		bulk("/last", 1, 0))
	go bus.Write(stream)
	m, err := c.Read()
	if err != nil || !m.Oversized || m.Body != nil || m.Path != "/first" {
		t.Fatalf("got %+v, %v", m, err)
	}
	m, err = c.Read()
	if err != nil || len(m.Path) != maxHeader-1000 {
		t.Fatalf("got %+v, %v", m, err)
	}
	m, err = c.Read()
	if err != nil || m.Path != "/last" || m.Oversized || len(m.Body) != 1 {
		t.Fatalf("got %+v, %v", m, err)
	}
	if len(c.buf) != bufferSize {
		t.Errorf("the buffer stays at %d bytes", len(c.buf))
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

// numbered returns n descriptors of an empty file each.
func numbered(t *testing.T, n int) []int {
	t.Helper()
	var fds []int
	for range n {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

func sameFile(t *testing.T, a, b int) bool {
	t.Helper()
	var x, y unix.Stat_t
	if err := errors.Join(unix.Fstat(a, &x), unix.Fstat(b, &y)); err != nil {
		t.Fatal(err)
	}
	return x.Ino == y.Ino
}

func withFDs(t *testing.T, n int, body ...any) []byte {
	t.Helper()
	return marshalWith(t, binary.LittleEndian, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldUnixFDs: dbus.MakeVariant(uint32(n)),
	}, body...)
}

func TestDescriptorsReachTheMessageTheyCameWith(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	fds := numbered(t, 4)
	send := func(b []byte, fds ...int) {
		n, _, err := bus.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
		if err != nil {
			t.Error(err)
		}
		bus.Write(b[n:])
	}
	go func() {
		bus.Write(marshal(t, binary.LittleEndian, "none"))
		send(withFDs(t, 2, "two"), fds[0], fds[1])
		send(marshal(t, binary.LittleEndian, "not announced"), fds[2])
		send(withFDs(t, 2, "one of two"), fds[2])
		send(withFDs(t, 1, "one"), fds[3])
		send(bulk("/", 2*MaxBody, 1), fds[0])
	}()
	wants := []struct {
		fds        []int
		incomplete bool
	}{{}, {fds: fds[:2]}, {}, {fds: fds[2:3], incomplete: true}, {fds: fds[3:]}, {fds: fds[:1]}}
	for i, want := range wants {
		m, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if len(m.FDs) != len(want.fds) || m.Incomplete != want.incomplete {
			t.Fatalf("message %d: got %d descriptors (incomplete: %v)", i, len(m.FDs), m.Incomplete)
		}
		for k := range m.FDs {
			if !sameFile(t, m.FDs[k], want.fds[k]) {
				t.Errorf("message %d: descriptor %d is another one", i, k)
			}
		}
	}
	if c.fds != nil {
		t.Errorf("left over: %v", c.fds)
	}
}

func TestLostDescriptorsDoNotShiftTheOthers(t *testing.T) {
	t.Parallel()
	var q fdQueue
	q.receive(nil, unix.MSG_CTRUNC, 100)
	fds := numbered(t, 1)
	dup, err := unix.Dup(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	q.receive(unix.UnixRights(dup), 0, 200)
	if got, ok := q.claim(1, 100); ok || len(got) != 0 {
		t.Errorf("the first message got %v, %v", got, ok)
	}
	got, ok := q.claim(1, 200)
	if !ok || len(got) != 1 || got[0] != dup {
		t.Errorf("the second message got %v, %v", got, ok)
	}
	CloseAll(got)
}

func TestMessagesAreWrittenInOrderWithTheirDescriptors(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	other := connOn(t, bus)
	fds := numbered(t, 1)
	const count = 3000
	go func() {
		for i := range uint32(count) {
			var e Encoder
			e.Uint32(i)
			h := &Header{Type: TypeSignal, Path: "/", Interface: "a.b", Member: "C", Signature: "u"}
			switch i % 100 {
			case 50:
				dup, err := unix.Dup(fds[0])
				if err != nil {
					t.Error(err)
				}
				c.Send(h, e.Bytes(), []int{dup})
			default:
				c.Send(h, e.Bytes(), nil)
			}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() { written <- c.Write(ctx) }()
	for i := range uint32(count) {
		m, err := other.Read()
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		d.Reset(m)
		if got := d.Uint32(); got != i || m.Serial != i+1 || (len(m.FDs) == 1) != (i%100 == 50) {
			t.Fatalf("message %d: got %d with serial %d and %d descriptors", i, got, m.Serial, len(m.FDs))
		}
		m.Close()
	}
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestADescriptorThatCannotBePassedBecomesAnError(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	c.Send(&Header{Type: TypeReply, ReplySerial: 8, Destination: ":1.3", Signature: "h"}, []byte{0, 0, 0, 0}, []int{1 << 20})
	c.Send(&Header{Type: TypeReply, ReplySerial: 9, Destination: ":1.3"}, nil, nil)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	got := map[uint32]Type{}
	for other := connOn(t, bus); len(got) < 2; {
		m, err := other.Read()
		if err != nil {
			t.Fatal(err)
		}
		got[m.ReplySerial] = m.Type
	}
	if diff := cmp.Diff(map[uint32]Type{8: TypeError, 9: TypeReply}, got); diff != "" {
		t.Error(diff)
	}
}

func TestQueuedDescriptorsAreClosedWithTheConnection(t *testing.T) {
	t.Parallel()
	c, _ := pair(t)
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	h := &Header{Type: TypeReply, ReplySerial: 8, Signature: "h"}
	dup, err := unix.Dup(ends[1])
	if err != nil {
		t.Fatal(err)
	}
	c.Send(h, []byte{0, 0, 0, 0}, []int{ends[1]})
	c.Close()
	c.Send(h, []byte{0, 0, 0, 0}, []int{dup})
	if n, err := unix.Read(ends[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the pipe is still open: %d, %v", n, err)
	}
}

func TestWaitingForRoomEnds(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	for range 2 * crowded / MaxBody {
		c.Send(&Header{Type: TypeSignal}, make([]byte, MaxBody), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Write(ctx)
	go io.Copy(io.Discard, bus)
	c.Wait()

	for range 4 * crowded / MaxBody {
		c.Send(&Header{Type: TypeSignal}, make([]byte, MaxBody), nil)
	}
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	c.Wait()
	<-closed
}

func TestSocketNamesComeFromBusAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"unix:path=/run/dbus/system_bus_socket":  "/run/dbus/system_bus_socket",
		"unix:guid=00,path=/a%20b+c%2fd":         "/a b+c/d",
		"unix:abstract=/tmp/dbus-x,guid=0123":    "@/tmp/dbus-x",
		"tcp:host=localhost,port=1":              "",
		"unix:tmpdir=/tmp":                       "",
		"unix:path=%zz":                          "",
		"/run/dbus/system_bus_socket":            "",
		"unixexec:path=/bin/cat":                 "",
		"unix:runtime=yes":                       "",
		"unix:path=/first,path=/second":          "/first",
		"unix:":                                  "",
		"":                                       "",
		"unix:abstract=,path=/ignored":           "@",
		"unix:path=/run/user/1000/bus,guid=abcd": "/run/user/1000/bus",
	} {
		if got, err := socketName(address); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v", address, got, err)
		}
	}
}

func TestGreetingFailsWithAReason(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refused":              "REJECTED EXTERNAL\r\n",
		"without descriptors":  "OK 0123\r\nERROR\r\n",
		"a line without end":   strings.Repeat("x", 2*maxLine),
		"hung up":              "",
		"a reply that is none": "OK 0123\r\nAGREE_UNIX_FD\r\nxxxxxxxxxxxxxxxxxxxxx",
	} {
		address := filepath.Join(t.TempDir(), "bus")
		listener, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 1000))
			io.WriteString(conn, answer)
			conn.Close()
		}()
		if _, err := Dial(t.Context(), "unix:path="+address); err == nil {
			t.Errorf("%s: no error", name)
		}
		listener.Close()
	}
}

func TestGreetingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "unix:path="+address); err == nil {
		t.Error("no error")
	}
}
