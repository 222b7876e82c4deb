package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/godbus/dbus/v5"
)

const (
	maxArray = 64 << 20
	// maxSentFDs is how many descriptors dbus-daemon takes in one message.
	maxSentFDs = 16
)

// An Encoder writes the values of one body, little-endian. The zero Encoder
// is ready. After an error it goes on, so that FDs is complete; the body is
// of no use then.
type Encoder struct {
	buf []byte
	fds []int
	err error
}

// Reset forgets what has been written, but keeps the memory.
func (e *Encoder) Reset() {
	if cap(e.buf) > maxSpare {
		e.buf = nil
	}
	e.buf, e.fds, e.err = e.buf[:0], nil, nil
}

// Bytes returns the body, valid until e is used again.
func (e *Encoder) Bytes() []byte { return e.buf }

// FDs returns the descriptors that belong to the body, each once.
func (e *Encoder) FDs() []int { return e.fds }

// Err returns why the body cannot be sent, or nil.
func (e *Encoder) Err() error {
	if e.full() {
		e.fail(fmt.Errorf("%w: the message is longer than %d bytes", ErrLimit, MaxReply))
	}
	if len(e.fds) > maxSentFDs {
		e.fail(fmt.Errorf("%w: %d descriptors in one message", ErrLimit, len(e.fds)))
	}
	return e.err
}

func (e *Encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// full reports whether the body is too long already.
func (e *Encoder) full() bool { return len(e.buf) > MaxReply }

func (e *Encoder) align(n int) {
	if pad := -len(e.buf) & (n - 1); pad > 0 {
		e.buf = append(e.buf, zeros[:pad]...)
	}
}

// Byte writes a y.
func (e *Encoder) Byte(v byte) { e.buf = append(e.buf, v) }

// Uint16 writes a q.
func (e *Encoder) Uint16(v uint16) {
	e.align(2)
	e.buf = binary.LittleEndian.AppendUint16(e.buf, v)
}

// Uint32 writes a u.
func (e *Encoder) Uint32(v uint32) {
	e.align(4)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
}

// Uint64 writes a t.
func (e *Encoder) Uint64(v uint64) {
	e.align(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

// Float64 writes a d.
func (e *Encoder) Float64(v float64) { e.Uint64(math.Float64bits(v)) }

// Bool writes a b.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Uint32(1)
		return
	}
	e.Uint32(0)
}

// Text writes an s.
func (e *Encoder) Text(s string) {
	if !validText(s) {
		e.fail(errors.New("a string is not valid UTF-8 or contains a zero byte"))
		return
	}
	e.writeText(s)
}

// ObjectPath writes an o.
func (e *Encoder) ObjectPath(p dbus.ObjectPath) {
	if !validPath(string(p)) {
		e.fail(fmt.Errorf("%q is no object path", p))
		return
	}
	e.writeText(string(p))
}

// writeText writes s unless it is too long.
func (e *Encoder) writeText(s string) {
	if len(s) > MaxReply {
		e.fail(fmt.Errorf("%w: a string is longer than %d bytes", ErrLimit, MaxReply))
		return
	}
	e.align(4)
	buf := binary.LittleEndian.AppendUint32(e.buf, uint32(len(s)))
	e.buf = append(append(buf, s...), 0)
}

// Signature writes a g.
func (e *Encoder) Signature(sig string) {
	if !validSignature(sig) {
		e.fail(fmt.Errorf("%q is no signature", sig))
		return
	}
	buf := append(e.buf, byte(len(sig)))
	e.buf = append(append(buf, sig...), 0)
}

// UnixFD writes an h. The descriptor is the message's from now on.
func (e *Encoder) UnixFD(fd dbus.UnixFD) {
	if fd < 0 {
		e.fail(errors.New("there is no descriptor to pass"))
		return
	}
	i := slices.Index(e.fds, int(fd))
	if i < 0 {
		i = len(e.fds)
		e.fds = append(e.fds, int(fd))
	}
	e.Uint32(uint32(i))
}

// An Array is an array that is being written.
type Array struct{ length, start int }

// Array begins an array whose elements are of a type that begins with elem.
func (e *Encoder) Array(elem byte) Array {
	e.Uint32(0)
	length := len(e.buf) - 4
	e.align(alignOf(elem))
	return Array{length, len(e.buf)}
}

// EndArray ends a.
func (e *Encoder) EndArray(a Array) {
	n := len(e.buf) - a.start
	if n > maxArray {
		e.fail(fmt.Errorf("%w: an array is longer than %d bytes", ErrLimit, maxArray))
	}
	binary.LittleEndian.PutUint32(e.buf[a.length:], uint32(n))
}

// Struct begins a struct or an element of a dictionary.
func (e *Encoder) Struct() { e.align(8) }
