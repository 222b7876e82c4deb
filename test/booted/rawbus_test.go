package booted

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// as runs fn on a thread that has become the user, and ends with fn. What fn
// connects to sees the user at the other end.
func as(t *testing.T, name string, fn func()) {
	t.Helper()
	c, _ := credentialOf(t, name)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else may get this thread
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, uintptr(c.Gid), uintptr(c.Gid), uintptr(c.Gid)},
			{unix.SYS_SETRESUID, uintptr(c.Uid), uintptr(c.Uid), uintptr(c.Uid)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- errno
				return
			}
		}
		fn()
		done <- nil
	}()
	must(t, <-done)
}

// A rawBus is a connection to the bus that sends what no library would.
type rawBus struct {
	*net.UnixConn
	r *bufio.Reader
}

func dialRaw(t *testing.T, user string) *rawBus {
	t.Helper()
	b := &rawBus{}
	as(t, user, func() {
		var err error
		b.UnixConn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: "/run/dbus/system_bus_socket", Net: "unix"})
		if err != nil {
			t.Error(err)
		}
	})
	if b.UnixConn == nil {
		t.FailNow()
	}
	t.Cleanup(func() { b.Close() })
	b.r = bufio.NewReader(b)
	_, err := b.Write([]byte("\x00AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"))
	must(t, err)
	for _, want := range []string{"DATA", "OK ", "AGREE_UNIX_FD"} {
		line, err := b.r.ReadString('\n')
		must(t, err)
		if !strings.HasPrefix(line, want) {
			t.Fatalf("the bus says %q, want %q", line, want)
		}
	}
	hello := rawCall{destination: busDriver.Name, path: string(busDriver.Path), iface: busDriver.Name, member: "Hello", serial: 1}
	_, err = b.Write(hello.bytes())
	must(t, err)
	must(t, b.answered(1, 1, replyMessage))
	return b
}

// A rawCall is a method call with any body.
type rawCall struct {
	destination, path, iface, member, signature string
	body                                        []byte
	serial, fds                                 uint32
}

// toManager is a call of the daemon's Manager.
func toManager(member, signature string, body []byte) rawCall {
	return rawCall{destination: machine1.BusName, path: string(machine1.ObjectPath), iface: machine1.ManagerInterface,
		member: member, signature: signature, body: body}
}

func (c rawCall) bytes() []byte {
	var f builder
	f.field(1, "o", func() { f.text(c.path) })
	f.field(2, "s", func() { f.text(c.iface) })
	f.field(3, "s", func() { f.text(c.member) })
	f.field(6, "s", func() { f.text(c.destination) })
	if c.signature != "" {
		f.field(8, "g", func() { f.signature(c.signature) })
	}
	if c.fds > 0 {
		f.field(9, "u", func() { f.number(c.fds) })
	}
	m := builder{[]byte{'l', 1, 0, 1}}
	m.number(uint32(len(c.body)))
	m.number(c.serial)
	m.number(uint32(len(f.b)))
	m.b = append(m.b, f.b...)
	m.align(8)
	return append(m.b, c.body...)
}

// A builder appends D-Bus values, in little endian.
type builder struct{ b []byte }

func (b *builder) align(n int) {
	for len(b.b)%n != 0 {
		b.b = append(b.b, 0)
	}
}

func (b *builder) number(n uint32) {
	b.align(4)
	b.b = binary.LittleEndian.AppendUint32(b.b, n)
}

func (b *builder) text(s string) {
	b.number(uint32(len(s)))
	b.b = append(append(b.b, s...), 0)
}

func (b *builder) signature(s string) {
	b.b = append(append(append(b.b, byte(len(s))), s...), 0)
}

// ex is what RegisterMachineEx takes: a name, and properties.
func ex(name string, properties ...func(*builder)) []byte {
	var b builder
	b.text(name)
	b.number(0)
	length := len(b.b) - 4
	b.align(8)
	start := len(b.b)
	for _, property := range properties {
		b.align(8)
		property(&b)
	}
	binary.LittleEndian.PutUint32(b.b[length:], uint32(len(b.b)-start))
	return b.b
}

// descriptorAs is a property that refers to one of the descriptors of the call.
func descriptorAs(key string, index uint32) func(*builder) {
	return func(b *builder) {
		b.text(key)
		b.signature("h")
		b.number(index)
	}
}

func (b *builder) field(code byte, signature string, value func()) {
	b.align(8)
	b.b = append(b.b, code)
	b.signature(signature)
	value()
}

// A rawReply is what is of interest of a message that came.
type rawReply struct {
	kind        byte
	replySerial uint32
}

const (
	replyMessage = 2
	errorMessage = 3
)

// read returns the next reply or error.
func (b *rawBus) read() (rawReply, error) {
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(b.r, head); err != nil {
			return rawReply{}, err
		}
		fields := int(binary.LittleEndian.Uint32(head[12:]))
		rest := make([]byte, (fields+7)/8*8+int(binary.LittleEndian.Uint32(head[4:])))
		if _, err := io.ReadFull(b.r, rest); err != nil {
			return rawReply{}, err
		}
		if head[1] == replyMessage || head[1] == errorMessage {
			return rawReply{head[1], replySerialIn(rest[:fields])}, nil
		}
	}
}

// replySerialIn finds the field 5, of type u, which both brokers put at an
// eight byte boundary as any field.
func replySerialIn(fields []byte) uint32 {
	for i := 0; i+8 <= len(fields); i += 8 {
		if fields[i] == 5 && string(fields[i+1:i+4]) == "\x01u\x00" {
			return binary.LittleEndian.Uint32(fields[i+4:])
		}
	}
	return 0
}

// answered reads until the calls with the serials from first to last have been
// answered, all by messages of the same type.
func (b *rawBus) answered(first, last uint32, kind byte) error {
	waiting := map[uint32]bool{}
	for serial := first; serial <= last; serial++ {
		waiting[serial] = true
	}
	for len(waiting) > 0 {
		r, err := b.read()
		if err != nil {
			return err
		}
		if !waiting[r.replySerial] || r.kind != kind {
			return fmt.Errorf("the answer %+v came, which nobody waits for", r)
		}
		delete(waiting, r.replySerial)
	}
	return nil
}

// ping calls the daemon and waits for its answer.
func (b *rawBus) ping(serial uint32) error {
	return b.ask(toManager("ListMachines", "", nil), serial)
}

// ask makes a call that is to succeed.
func (b *rawBus) ask(c rawCall, serial uint32) error {
	c.serial = serial
	if _, err := b.Write(c.bytes()); err != nil {
		return err
	}
	return b.answered(serial, serial, replyMessage)
}
