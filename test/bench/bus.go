package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
)

// A rawBus is a connection to the bus that does next to nothing itself: what is
// measured is the broker and the daemon. Its reads and writes block, since Go's
// poller would wake other threads for each answer.
type rawBus struct {
	file   *os.File
	in     *bufio.Reader
	serial uint32
}

func dialRaw() (*rawBus, error) {
	path := strings.TrimPrefix(bus.SystemAddress(), "unix:path=")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), path)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot connect to the bus at %s: %w", path, err)
	}
	b := &rawBus{file: file, in: bufio.NewReaderSize(file, 256<<10)}
	if err := b.greet(); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot greet the bus: %w", err)
	}
	return b, nil
}

func (b *rawBus) greet() error {
	if _, err := io.WriteString(b.file, "\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"); err != nil {
		return err
	}
	for _, want := range []string{"DATA", "OK "} {
		if line, err := b.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			return fmt.Errorf("the bus says %q: %w", line, err)
		}
	}
	hello, err := encode(bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}, "org.freedesktop.DBus", "Hello")
	if err != nil {
		return err
	}
	return b.run(hello, 1, 1)
}

// encode returns a method call whose serial number is still to be filled in.
func encode(to bus.Target, iface, member string, args ...any) ([]byte, error) {
	m := &dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to.Name),
			dbus.FieldPath:        dbus.MakeVariant(to.Path),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
		Body: args,
	}
	if len(args) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	var buf bytes.Buffer
	err := m.EncodeTo(&buf, binary.LittleEndian)
	return buf.Bytes(), err
}

// run makes the call n times, so that never more than window of them wait for
// an answer.
func (b *rawBus) run(call []byte, n, window int) error {
	for sent, answered := 0, 0; answered < n; answered++ {
		// A half-empty window is filled with one write, as a busy client does.
		if sent-answered <= window/2 {
			more := min(n, answered+window) - sent
			if err := b.send(call, more); err != nil {
				return err
			}
			sent += more
		}
		if err := b.answer(); err != nil {
			return err
		}
	}
	return nil
}

func (b *rawBus) send(call []byte, times int) error {
	batch := bytes.Repeat(call, times)
	for i := range times {
		b.serial++
		binary.LittleEndian.PutUint32(batch[i*len(call)+8:], b.serial)
	}
	_, err := b.file.Write(batch)
	return err
}

const (
	fixedHeader = 16
	typeReply   = 2
	typeError   = 3
)

// answer reads up to the next answer, and fails if it is an error.
func (b *rawBus) answer() error {
	for {
		head, err := b.in.Peek(fixedHeader)
		if err != nil {
			return err
		}
		kind := head[1]
		fields, body := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint32(head[4:])
		rest := fixedHeader + int(fields+7)&^7 + int(body)
		if kind == typeError {
			text, _ := b.in.Peek(min(rest, b.in.Size()))
			return fmt.Errorf("the daemon answers with an error: %q", text)
		}
		if _, err := b.in.Discard(rest); err != nil {
			return err
		}
		if kind == typeReply {
			return nil
		}
	}
}
