package vtable_test

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

// openFDs counts the descriptors of this process. It is of use only while no
// other test runs.
func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// pipe returns the end to read from and the end to give away. Reading reports
// the end once every copy of the other one is closed.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]) })
	return ends[0], ends[1]
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// malformed are messages that bring descriptors nobody asked for.
var malformed = []struct {
	name string
	make func(t testing.TB) (*wire.Header, []byte)
	want string // error name; "-" for no answer
}{
	{"to an unknown object", func(testing.TB) (*wire.Header, []byte) {
		h := method("Echo")
		h.Path = "/x"
		return h, nil
	}, errorNS + "UnknownObject"},
	{"to an unknown method", func(testing.TB) (*wire.Header, []byte) { return method("Missing"), nil }, errorNS + "UnknownMethod"},
	{"with a wrong signature", func(t testing.TB) (*wire.Header, []byte) { return with(t, method("Echo"), uint32(1)) }, errorNS + "InvalidArgs"},
	{"to a method that takes none", func(testing.TB) (*wire.Header, []byte) { return method("Nothing"), nil }, ""},
	{"to a method that looks at it only", func(testing.TB) (*wire.Header, []byte) {
		h := method("Look")
		h.Signature = "h"
		return h, []byte{1, 0, 0, 0}
	}, ""},
	{"with an index that is too big", func(testing.TB) (*wire.Header, []byte) {
		h := method("Look")
		h.Signature = "h"
		return h, []byte{2, 0, 0, 0}
	}, errorNS + "InvalidArgs"},
	{"with a body that is too long", func(testing.TB) (*wire.Header, []byte) {
		h := method("Echo")
		h.Signature = "ay"
		return h, append([]byte{0, 0, 0x12, 0}, make([]byte, 0x120000)...)
	}, errorNS + "InvalidArgs"},
	{"to a method that panics", func(testing.TB) (*wire.Header, []byte) { return method("Panic"), nil }, errorNS + "Failed"},
	{"in a variant", func(t testing.TB) (*wire.Header, []byte) {
		h, body := method("Describe"), []byte("\x01h\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
		h.Signature = "va{saq}"
		return h, append(body, 0, 0, 0, 0)
	}, ""},
	{"with a call that wants no reply", func(testing.TB) (*wire.Header, []byte) {
		h := method("Missing")
		h.Flags = wire.NoReplyExpected
		return h, nil
	}, "-"},
	{"with a signal", func(testing.TB) (*wire.Header, []byte) {
		h := method("Missing")
		h.Type, h.Flags = wire.TypeSignal, wire.NoReplyExpected
		return h, nil
	}, "-"},
	{"to Peer", func(testing.TB) (*wire.Header, []byte) {
		h := method("Ping")
		h.Interface = "org.freedesktop.DBus.Peer"
		return h, nil
	}, ""},
}

// Not parallel: it counts the descriptors of the process.
func TestMalformedCallsLeaveNoDescriptors(t *testing.T) {
	s := serve(t)
	p := s.peer(t)
	r, w := pipe(t)
	before := openFDs(t)
	const rounds = 200
	for range rounds {
		for _, tt := range malformed {
			h, body := tt.make(t)
			p.send(h, body, dup(t, w), dup(t, w))
			if tt.want == "-" {
				continue
			}
			if m := p.receive(); m.ReplySerial != h.Serial || m.ErrorName != tt.want {
				t.Fatalf("%s: got %q to %d, want %q", tt.name, m.ErrorName, m.ReplySerial, tt.want)
			}
		}
	}
	p.call(method("Nothing"), nil)
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after %d calls", before, after, rounds*len(malformed))
	}
	unix.Close(w)
	if n, err := unix.Read(r, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("some copy is still open: %v", err)
	}
}

func TestAHandlerKeepsWhatItTakes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	r, w := pipe(t)
	h := method("Keep")
	h.Signature = "h"
	if m := p.call(h, []byte{1, 0, 0, 0}, dup(t, w), dup(t, w)); m.ErrorName != "" {
		t.Fatal(m.ErrorName)
	}
	h, body := with(t, method("KeepInside"), []machine1.Property{{Name: "x", Value: dbus.MakeVariant(dbus.UnixFD(w))}})
	if m := p.call(h, body, dup(t, w), dup(t, w)); m.ErrorName != "" {
		t.Fatal(m.ErrorName)
	}
	unix.Close(w)
	if _, err := unix.Read(r, make([]byte, 1)); err != unix.EAGAIN {
		t.Errorf("nothing is open any more: %v", err)
	}
	if n := s.closeTaken(t); n != 2 {
		t.Errorf("%d were taken", n)
	}
	if n, err := unix.Read(r, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("what nobody took is still open: %v", err)
	}
}

// Not parallel: it counts the descriptors of the process.
func TestDescriptorsInResultsAreSentOrClosed(t *testing.T) {
	s := serve(t)
	p := s.peer(t)
	before := openFDs(t)
	for range 100 {
		h, body := with(t, method("Open"), false)
		m := p.call(h, body)
		if len(m.FDs) != 1 {
			t.Fatalf("got %d descriptors, %s", len(m.FDs), m.ErrorName)
		}
		m.Close()
		h, body = with(t, method("Open"), true)
		if m := p.call(h, body); m.ErrorName != errorNS+"Failed" {
			t.Fatalf("got %q", m.ErrorName)
		}
		h, body = with(t, method("Open"), false)
		h.Flags = wire.NoReplyExpected
		p.send(h, body)
	}
	p.call(method("Nothing"), nil)
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestOddSignaturesDoNotKillTheConnection(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	bodies := map[string]string{
		"a{gs}":                  "\x00\x00\x00\x00\x00\x00\x00\x00",
		"a{bv}":                  "\x00\x00\x00\x00\x00\x00\x00\x00",
		"a{vs}":                  "",
		strings.Repeat("a", 32):  "",
		"av":                     "\x00\x00\x00\x00",
		"(((((((((y)))))))))":    "\x07",
		"a(a{s(a{s(a{sv})})}ay)": "\x00\x00\x00\x00\x00\x00\x00\x00",
		"h":                      "\x00\x00\x00\x00",
	}
	for sig, body := range bodies {
		if body == "" {
			continue // the bus itself refuses it
		}
		for _, h := range []*wire.Header{method("Echo"), method("Missing"), method("Nothing")} {
			h.Signature = sig
			if m := p.call(h, []byte(body)); m.Type != wire.TypeError {
				t.Errorf("%s: %s succeeded", sig, h.Member)
			}
		}
	}
	for _, variant := range []string{"\x05a{gs}\x00", "\x05a{bs}\x00"} {
		h := method("Describe")
		h.Signature = "va{saq}"
		if m := p.call(h, append([]byte(variant), make([]byte, 24-len(variant))...)); m.ErrorName != errorNS+"LimitsExceeded" {
			t.Errorf("%q: got %q", variant, m.ErrorName)
		}
	}
}

// Not parallel: it measures the memory of the process.
func TestAHugeMessageTakesNoMemory(t *testing.T) {
	s := serve(t)
	p := newRaw(t, s.bus.Address)
	const size = 32 << 20
	for serial := uint32(2); serial < 5; serial++ {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p.write(hugeVariants(t, serial, size))
		chunk := []byte(strings.Repeat("\x01y\x00\x07", 16<<10))
		for sent := 0; sent < size; sent += len(chunk) {
			p.write(chunk)
		}
		for {
			m := p.read()
			if m.ReplySerial != serial {
				continue
			}
			if m.ErrorName != errorNS+"LimitsExceeded" && m.ErrorName != errorNS+"InvalidArgs" {
				t.Errorf("got %q", m.ErrorName)
			}
			break
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 8<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4<<20 {
			t.Errorf("%d bytes were allocated", allocated)
		}
	}
}

// hugeVariants returns the beginning of a call with an av of size bytes.
func hugeVariants(t *testing.T, serial uint32, size int) []byte {
	b := godbusCall(t, binary.LittleEndian, serial, busName, rootPath, "List", []dbus.Variant{})
	binary.LittleEndian.PutUint32(b[4:], uint32(size+4))
	binary.LittleEndian.PutUint32(b[len(b)-4:], uint32(size))
	return b
}

func TestADecodedBodyIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	elements := strings.Repeat("\x01y\x00\x07", wire.MaxBody/4-10)
	body := binary.LittleEndian.AppendUint32([]byte("\x02av\x00"), uint32(len(elements)))
	body = append(body, elements...)
	body = append(body, 0, 0, 0, 0, 0, 0, 0, 0) // an empty dictionary
	h := method("Describe")
	h.Signature = "va{saq}"
	if m := p.call(h, body); m.ErrorName != errorNS+"LimitsExceeded" {
		t.Errorf("got %q", m.ErrorName)
	}
}
