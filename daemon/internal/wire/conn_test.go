package wire

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

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
