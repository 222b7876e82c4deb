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
}

func newPeer(conn net.Conn) *peer {
	limited := &limitedReader{conn, maxConversation}
	return &peer{conn: conn, input: bufio.NewReaderSize(limited, maxLine)}
}

// Close ends the connection. What was asked for goes on.
func (p *peer) Close() error { return p.conn.Close() }

// enter authenticates as the root user of the machine and says Hello.
func (p *peer) enter(ctx context.Context) error {
	return p.during(ctx, func() error {
		if err := p.authenticate(); err != nil {
			return err
		}
		const daemon = "org.freedesktop.DBus"
		_, err := p.ask(methodCall(bus.Target{Name: daemon, Path: "/org/freedesktop/DBus"}, daemon, "Hello"))
		return err
	})
}

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
		to := bus.Target{Name: manager.Name, Path: path}
		r, err = p.ask(methodCall(to, propertiesInterface, "Get", iface, name))
		return err
	})
	return r, err
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

// authenticate claims to be user 0, which is what the bus sees: its socket
// tells it the ids this connection was made with.
func (p *peer) authenticate() error {
	const hello = "\x00AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
	if _, err := io.WriteString(p.conn, hello); err != nil {
		return err
	}
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

// ask sends m and reads until the answer to it.
func (p *peer) ask(m dbus.Message) (reply, error) {
	p.serial++
	if err := p.send(m); err != nil {
		return reply{}, err
	}
	for {
		r, err := readReply(p.input)
		if err != nil {
			return reply{}, err
		}
		if r.serial != p.serial {
			continue
		}
		switch r.kind {
		case dbus.TypeMethodReply:
			return r, nil
		case dbus.TypeError:
			return reply{}, &machine1.RemoteError{Name: r.errorName, Text: r.text}
		}
	}
}

func (p *peer) send(m dbus.Message) error {
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
