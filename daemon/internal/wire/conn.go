package wire

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bufferSize is how much is read at once, in bytes.
const bufferSize = 64 << 10

// A Conn is a connection to a bus. One goroutine reads, one writes; anyone
// may send.
type Conn struct {
	sock   *socket
	name   string
	serial atomic.Uint32
	out    outbox

	writing sync.Mutex // held while queued messages are written

	// The rest is the reader's. buf[r:w] has been received and not read yet;
	// pos is where in the stream buf[r] is.
	buf  []byte
	r, w int
	pos  uint64
	oob  []byte
	fds  fdQueue
}

// A Message is one message that was received.
type Message struct {
	Header
	Body []byte
	// FDs are the descriptors that came with it. Whoever has the message owns
	// them.
	FDs []int
	// Oversized says that the body was longer than MaxBody and not kept.
	Oversized bool
	// Incomplete says that descriptors got lost on the way.
	Incomplete bool

	header int // length of the header
}

// Close closes the descriptors that came with m.
func (m *Message) Close() {
	CloseAll(m.FDs)
	m.FDs = nil
}

// Size returns how many bytes m's header and body take.
func (m *Message) Size() int { return m.header + len(m.Body) }

// Dial connects to the bus at address, a D-Bus address list, authenticates as
// this process's user, and says Hello.
func Dial(ctx context.Context, address string) (*Conn, error) {
	sock, err := dialSocket(ctx, address)
	if err != nil {
		return nil, err
	}
	c := newConn(sock)
	stop := context.AfterFunc(ctx, c.Stop)
	err = c.greet()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot greet the bus at %s: %w", address, err)
	}
	return c, nil
}

func newConn(sock *socket) *Conn {
	c := &Conn{
		sock: sock,
		buf:  make([]byte, bufferSize),
		oob:  make([]byte, unix.CmsgSpace(4*maxFDs)),
	}
	c.out.init()
	return c
}

// Name returns the unique name that the bus gave us.
func (c *Conn) Name() string { return c.name }

// Stop makes whoever reads, writes or waits for room return, and drops what is
// queued.
func (c *Conn) Stop() {
	c.sock.stop()
	c.out.close()
}

// Close closes the connection. What is queued is lost, and every descriptor
// closed. Nobody may be reading any more.
func (c *Conn) Close() error {
	c.Stop()
	c.fds.close()
	// Whoever still writes fails now; nobody begins to.
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.sock.close()
}

// Read returns the next message, which the caller owns. A message whose
// header alone is bigger than 1 MiB is passed over. After an error the
// connection is of no use.
func (c *Conn) Read() (*Message, error) {
	for {
		if err := c.fill(fixedHeader); err != nil {
			return nil, err
		}
		f, err := parseFrame(c.buf[c.r:])
		if err != nil {
			return nil, err
		}
		if f.header <= maxHeader {
			return c.readMessage(f)
		}
		if err := c.discard(f.header + f.body); err != nil {
			return nil, err
		}
		c.fds.claim(0, c.pos)
	}
}

func (c *Conn) readMessage(f frame) (*Message, error) {
	if err := c.fill(f.header); err != nil {
		return nil, err
	}
	h, err := parseHeader(f, c.buf[c.r:c.r+f.header])
	if err != nil {
		return nil, err
	}
	c.advance(f.header)
	m := &Message{Header: h, header: f.header}
	if m.Oversized = f.body > MaxBody; m.Oversized {
		err = c.discard(f.body)
	} else if f.body > 0 {
		m.Body = make([]byte, f.body)
		err = c.readFull(m.Body)
	}
	if err != nil {
		return nil, err
	}
	fds, ok := c.fds.claim(int(h.UnixFDs), c.pos)
	m.FDs, m.Incomplete = fds, !ok
	return m, nil
}

// Buffered returns how many bytes have been received that Read has not returned
// yet. It is for the one who reads.
func (c *Conn) Buffered() int { return c.w - c.r }

// fill makes buf hold at least n bytes to read.
func (c *Conn) fill(n int) error {
	if n > len(c.buf) {
		c.buf = append(make([]byte, 0, n), c.buf[c.r:c.w]...)[:n]
		c.r, c.w = 0, c.w-c.r
	}
	for c.w-c.r < n {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		}
		got, err := c.receive(c.buf[c.w:], uint64(c.w-c.r))
		if err != nil {
			return err
		}
		c.w += got
	}
	return nil
}

// advance drops the first n bytes of buf.
func (c *Conn) advance(n int) {
	c.r += n
	c.pos += uint64(n)
	if c.r == c.w && len(c.buf) > bufferSize {
		c.buf, c.r, c.w = make([]byte, bufferSize), 0, 0
	}
}

func (c *Conn) readFull(dst []byte) error {
	n := copy(dst, c.buf[c.r:c.w])
	c.advance(n)
	for n < len(dst) {
		got, err := c.receive(dst[n:], 0)
		if err != nil {
			return err
		}
		n += got
		c.pos += uint64(got)
	}
	return nil
}

func (c *Conn) discard(n int) error {
	for {
		have := min(n, c.w-c.r)
		c.advance(have)
		if n -= have; n == 0 {
			return nil
		}
		if err := c.fill(1); err != nil {
			return err
		}
	}
}

// receive reads into dst. There are ahead bytes between pos and what is read.
func (c *Conn) receive(dst []byte, ahead uint64) (int, error) {
	n, oobn, flags, err := c.sock.receive(dst, c.oob)
	if oobn > 0 || flags&unix.MSG_CTRUNC != 0 {
		c.fds.receive(c.oob[:oobn], flags, c.pos+ahead+uint64(n))
	}
	return n, err
}
