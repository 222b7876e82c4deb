package wire

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

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
