package responder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptRate and acceptBurst bound the connections of one link.
	acceptRate, acceptBurst = 50, 50
	// connections is how many there may be at once, of one link and of one
	// client.
	connections, clientConnections = 32, 8
	// idle is how long a client may be silent, or slow, and dialPatience how long
	// a server may be.
	idle, dialPatience = 10 * time.Second, 3 * time.Second
)

// A tcpRelay passes queries over TCP on. That is rare: clients do so with
// answers that are too long for UDP. Each connection has a goroutine.
type tcpRelay struct {
	cfg    *Config
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	clients map[netip.Addr]int // and how many connections they have
	count   int
}

func newTCPRelay(cfg *Config) *tcpRelay {
	return &tcpRelay{cfg: cfg, cancel: func() {}, clients: map[netip.Addr]int{}}
}

func (t *tcpRelay) listen(ctx context.Context, l *loop, addr netip.Addr) error {
	at := netip.AddrPortFrom(addr, dnsPort)
	fd, err := t.cfg.bind(unix.SOCK_STREAM, at, reuse)
	if err != nil {
		return t.cfg.portError("DNS", "tcp", at, err)
	}
	if err := unix.Listen(fd, connections); err != nil {
		unix.Close(fd)
		return t.cfg.portError("DNS", "tcp", at, err)
	}
	accept := func([]byte, time.Time) bool { return t.accept(ctx, fd) }
	return l.add(&source{fd: fd, limit: newBucket(acceptRate, acceptBurst), receive: accept})
}

// accept takes a connection, if there is one. Whatever else is wrong counts as
// one: so what goes on being wrong is not tried too often.
func (t *tcpRelay) accept(ctx context.Context, listener int) bool {
	fd, addr, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return !errors.Is(err, unix.EAGAIN)
	}
	file := os.NewFile(uintptr(fd), "dns client")
	defer file.Close() // the connection has a descriptor of its own
	from, ok := addrPort(addr)
	client := from.Addr()
	if !ok || !t.cfg.onLink(client) && !client.IsLinkLocalUnicast() || !t.enter(client) {
		return true
	}
	conn, err := net.FileConn(file)
	if err != nil {
		t.leave(client)
		return true
	}
	t.wg.Go(func() {
		defer t.leave(client)
		defer conn.Close()
		if err := t.serve(ctx, conn); err != nil {
			t.cfg.Log.Debug("A connection of DNS ended", "link", t.cfg.Link, "client", client, "error", err)
		}
	})
	return true
}

// enter counts a connection, unless there are too many.
func (t *tcpRelay) enter(client netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count >= connections || t.clients[client] >= clientConnections {
		return false
	}
	t.count++
	t.clients[client]++
	return true
}

func (t *tcpRelay) leave(client netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	if t.clients[client]--; t.clients[client] == 0 {
		delete(t.clients, client)
	}
}

// serve answers query after query until the client has no more.
func (t *tcpRelay) serve(ctx context.Context, conn net.Conn) error {
	defer interrupt(ctx, conn)()
	for ctx.Err() == nil {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		query, err := readMessage(conn, longestQuery)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, v := t.cfg.resolve(query, longestMessage)
		switch v {
		case ignore:
			return errors.New("it has sent what is no query")
		case forward:
			reply = t.forward(ctx, query)
		}
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		if err := writeMessage(conn, reply); err != nil {
			return err
		}
	}
	return nil
}

// interrupt makes what conn waits for fail when ctx ends, until the function
// that it returns is called.
func interrupt(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { conn.Close() })
}

// forward returns what the first server says that says anything.
func (t *tcpRelay) forward(ctx context.Context, query []byte) []byte {
	for i, server := range t.cfg.servers() {
		if i == attempts || ctx.Err() != nil {
			break
		}
		reply, err := ask(ctx, server, query)
		if err == nil {
			return reply
		}
		t.cfg.Log.Debug("Cannot ask a DNS server", "link", t.cfg.Link, "server", server, "error", err)
	}
	return failure(query)
}

func ask(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	dialer := net.Dialer{Timeout: dialPatience}
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer interrupt(ctx, conn)()
	if err := conn.SetDeadline(time.Now().Add(2 * dialPatience)); err != nil {
		return nil, err
	}
	if err := writeMessage(conn, query); err != nil {
		return nil, err
	}
	reply, err := readMessage(conn, longestMessage)
	if err != nil {
		return nil, err
	}
	if !answers(reply, query, binary.BigEndian.Uint16(query)) {
		return nil, errors.New("the answer is to another question")
	}
	return reply, nil
}

// longestMessage is how long a message over TCP may be, bytes.
const longestMessage = 1<<16 - 1

func readMessage(r io.Reader, longest int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > longest || n < dnsHeader {
		return nil, fmt.Errorf("a message has %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("cannot read a message: %w", err)
	}
	return b, nil
}

func writeMessage(w io.Writer, message []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}

func (t *tcpRelay) close() {
	t.cancel()
	t.wg.Wait()
}
