package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/godbus/dbus/v5"
)

// DialPlain is Dial for a client that passes no descriptors. godbus then takes
// any connection, so the gate is a filter on the socket itself: it costs no
// other socket and no goroutine. The bus is told who we are together with the
// first message, so it is then that a bus which does not let us in says so.
func DialPlain(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	options = append([]dbus.ConnOption{dbus.WithContext(ctx)}, options...)
	sock, err := dialSocket(ctx, address)
	if errors.Is(err, errNoSocket) {
		return dbus.Dial(address, options...)
	}
	if err != nil {
		return nil, err
	}
	conn, err := dbus.NewConn(&plain{in: newStream(sock), sock: sock, answers: []byte(godbusAnswers)}, options...)
	if err != nil {
		sock.Close()
		return nil, fmt.Errorf("cannot put a gate before the bus: %w", err)
	}
	return conn, nil
}

// godbusAnswers are to all that godbus asks for until it begins. The identity
// is nobody's: godbus does not look at it.
const godbusAnswers = "REJECTED EXTERNAL\r\nOK 00000000000000000000000000000000\r\n"

// A plain is what godbus reads from and writes to. godbus reads in one goroutine
// and writes in one at a time.
type plain struct {
	sock *net.UnixConn
	in   *stream

	answers  []byte // for the lines of the authentication, not yet read
	begun    bool   // godbus has said so
	admitted bool   // the bus has said so
	left     int    // bytes of the message that godbus is reading

	out     []byte // messages, of which the last may be written in part
	greeted bool   // the bus has been told who we are
}

// Read gives godbus what it may have. While it authenticates these are lines,
// one at a time.
func (p *plain) Read(b []byte) (int, error) {
	if len(p.answers) > 0 {
		n := copy(b, p.answers[:bytes.IndexByte(p.answers, '\n')+1])
		p.answers = p.answers[n:]
		return n, nil
	}
	if err := p.admit(); err != nil {
		return 0, err
	}
	for p.left == 0 {
		f, passes, err := nextOrNone(p.in)
		if err != nil {
			return 0, err
		}
		if passes {
			p.left = f.header + f.body
		}
	}
	there, err := p.in.all()
	if err != nil {
		return 0, err
	}
	n := copy(b, there[:min(p.left, len(there))])
	p.in.advance(n)
	if p.left -= n; p.left == 0 {
		closeAll(p.in.takeFDs(0))
	}
	return n, nil
}

// admit takes the bus's answer to who we are.
func (p *plain) admit() error {
	if p.admitted {
		return nil
	}
	_, err := admission(p.in)
	p.admitted = err == nil
	return err
}

// Write takes what godbus says: lines, which are answered here, and then
// messages, which the bus is sent as wholes.
func (p *plain) Write(b []byte) (int, error) {
	p.out = append(p.out, b...)
	if !p.begun {
		if bytes.HasSuffix(p.out, []byte(begin)) {
			p.begun, p.out = true, nil
		}
		return len(b), nil
	}
	whole, err := wholeMessages(p.out)
	if err != nil || whole == 0 {
		return len(b), err
	}
	message := p.out[:whole]
	if !p.greeted {
		message = append(greeting(false), message...)
		p.greeted = true
	}
	if _, err := p.sock.Write(message); err != nil {
		return 0, err
	}
	p.out = append(p.out[:0], p.out[whole:]...)
	return len(b), nil
}

// wholeMessages returns how many bytes of b are messages that are all there.
func wholeMessages(b []byte) (n int, err error) {
	for len(b)-n >= fixedHeader {
		f, err := parseFrame(b[n:])
		if err != nil {
			return n, err
		}
		if len(b)-n < f.header+f.body {
			break
		}
		n += f.header + f.body
	}
	return n, nil
}

// Close hangs up. What godbus reads now fails.
func (p *plain) Close() error { return p.sock.Close() }
