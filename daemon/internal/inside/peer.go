package inside

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// maxConversation bounds what a machine's bus may send in all, bytes. A
	// hello and one call take about a kilobyte.
	maxConversation = 1 << 20
	// maxLine bounds a line of the authentication, bytes.
	maxLine = 1024
)

var (
	errTooMuch = errors.New("the bus says more than we listen to")
	errNoSense = errors.New("the bus makes no sense")
)

// A peer is our end of a connection to the bus of a machine, for one caller at
// a time. It is a client of its own because the other end is hostile: it reads
// no further than to the answer it waits for, in the goroutine that waits for
// it; it takes no descriptors, decodes no bodies but errors' texts, numbers and words,
// and serves nothing.
type peer struct {
	conn   net.Conn
	input  *bufio.Reader
	serial uint32
	news   bool // a signal has come that may tell of an end: see reply
}

func newPeer(conn net.Conn) *peer {
	limited := &limitedReader{conn, maxConversation}
	return &peer{conn: conn, input: bufio.NewReaderSize(limited, maxLine)}
}

// Close ends the connection. What was asked for goes on.
func (p *peer) Close() error { return p.conn.Close() }

// enter authenticates as the root user of the machine, says Hello, and makes
// more calls, all in one go: the answers are read after.
func (p *peer) enter(ctx context.Context, more ...dbus.Message) error {
	return p.during(ctx, func() error {
		first := p.serial + 1
		sent := p.sayHello()
		for _, m := range append([]dbus.Message{methodCall(busDaemon, busDaemon.Name, "Hello")}, more...) {
			if sent == nil {
				sent = p.send(m)
			}
		}
		// A bus that refuses us may have hung up before all was sent, but says so
		// first.
		if err := p.readGreeting(); err != nil {
			return err
		}
		if sent != nil {
			return sent
		}
		_, err := p.readAnswers(first)
		return err
	})
}

// busDaemon is the bus itself.
var busDaemon = bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}

// call calls a method of the machine's service manager. Descriptors are passed
// as dbus.UnixFD and stay the caller's. Errors of the other side are
// *machine1.RemoteError.
func (p *peer) call(ctx context.Context, member string, args ...any) error {
	return p.during(ctx, func() error {
		_, err := p.ask(methodCall(manager, managerInterface, member, args...))
		return err
	})
}

// number reads a property of one of the service manager's objects.
func (p *peer) number(ctx context.Context, path dbus.ObjectPath, iface, name string) (int64, error) {
	r, err := p.property(ctx, path, iface, name)
	return r.number, err
}

// word reads a property that is a text.
func (p *peer) word(ctx context.Context, path dbus.ObjectPath, iface, name string) (string, error) {
	r, err := p.property(ctx, path, iface, name)
	return r.text, err
}

func (p *peer) property(ctx context.Context, path dbus.ObjectPath, iface, name string) (r reply, err error) {
	err = p.during(ctx, func() error {
		answers, err := p.ask(getProperty(path, iface, name))
		if err == nil {
			r = answers[0]
		}
		return err
	})
	return r, err
}

// numbers reads several properties that are numbers: an interface and a name
// each.
func (p *peer) numbers(ctx context.Context, path dbus.ObjectPath, names ...[2]string) (list []int64, err error) {
	calls := make([]dbus.Message, len(names))
	for i, name := range names {
		calls[i] = getProperty(path, name[0], name[1])
	}
	err = p.during(ctx, func() error {
		answers, err := p.ask(calls...)
		for _, r := range answers {
			list = append(list, r.number)
		}
		return err
	})
	return list, err
}

func getProperty(path dbus.ObjectPath, iface, name string) dbus.Message {
	return methodCall(bus.Target{Name: manager.Name, Path: path}, propertiesInterface, "Get", iface, name)
}

func methodCall(to bus.Target, iface, member string, args ...any) dbus.Message {
	m := dbus.Message{
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
	return m
}

// during runs a conversation that ends with ctx.
func (p *peer) during(ctx context.Context, talk func() error) error {
	stop := context.AfterFunc(ctx, func() { p.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := talk()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("the bus hung up: %w", machine1.ErrDisconnected)
	}
	return err
}

// sayHello claims to be user 0, which is what the bus sees: its socket tells it
// the ids this connection was made with.
func (p *peer) sayHello() error {
	const hello = "\x00AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
	_, err := io.WriteString(p.conn, hello)
	return err
}

// readGreeting reads the answer to that.
func (p *peer) readGreeting() error {
	for _, want := range []string{"OK", "AGREE_UNIX_FD"} {
		line, err := p.input.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errNoSense
		}
		if err != nil {
			return err
		}
		word, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte{' '})
		if string(word) != want {
			return fmt.Errorf("the bus does not accept us: %w", unix.EACCES)
		}
	}
	return nil
}

// ask sends messages and reads until all are answered. It returns the answers,
// or of the errors the first.
func (p *peer) ask(list ...dbus.Message) ([]reply, error) {
	first := p.serial + 1
	for _, m := range list {
		if err := p.send(m); err != nil {
			return nil, err
		}
	}
	return p.readAnswers(first)
}

// readAnswers reads the answers to all that was sent since first.
func (p *peer) readAnswers(first uint32) ([]reply, error) {
	answers := make([]reply, p.serial+1-first)
	for left := len(answers); left > 0; {
		r, err := readReply(p.input)
		if err != nil {
			return nil, err
		}
		p.news = p.news || r.news
		n := r.serial - first
		answer := r.kind == dbus.TypeMethodReply || r.kind == dbus.TypeError
		if !answer || r.serial < first || int64(n) >= int64(len(answers)) || answers[n].kind != 0 {
			continue
		}
		answers[n] = r
		left--
	}
	for _, r := range answers {
		if r.kind == dbus.TypeError {
			return nil, &machine1.RemoteError{Name: r.errorName, Text: r.text}
		}
	}
	return answers, nil
}

func (p *peer) send(m dbus.Message) error {
	p.serial++
	count, err := m.CountFds()
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	if count > 0 {
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(count))
	}
	var buf bytes.Buffer
	fds, err := m.EncodeToWithFDs(&buf, binary.LittleEndian)
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	const serialOffset = 8 // in the fixed part; godbus leaves it zero
	binary.LittleEndian.PutUint32(buf.Bytes()[serialOffset:], p.serial)
	if len(fds) == 0 {
		_, err := p.conn.Write(buf.Bytes())
		return err
	}
	unixConn, ok := p.conn.(*net.UnixConn)
	if !ok {
		return errors.New("the bus takes no descriptors")
	}
	n, _, err := unixConn.WriteMsgUnix(buf.Bytes(), unix.UnixRights(fds...), nil)
	if err != nil {
		return err
	}
	_, err = p.conn.Write(buf.Bytes()[n:]) // the descriptors went with the first byte
	return err
}

// A limitedReader fails once n bytes have been read.
type limitedReader struct {
	r io.Reader
	n int
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if l.n <= 0 {
		return 0, errTooMuch
	}
	n, err := l.r.Read(b[:min(len(b), l.n)])
	l.n -= n
	return n, err
}
