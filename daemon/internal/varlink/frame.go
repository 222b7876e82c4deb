package varlink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFrame bounds one message, in bytes. The largest real one is a
	// registration with a few paths.
	maxFrame = 1 << 20

	// readBuffer is what an idle connection holds, in bytes.
	readBuffer = 4 << 10

	// frameTimeout is how long a message may take to arrive from its first
	// byte on, and the first one from the connection on. Between messages a
	// connection may rest as long as it likes.
	frameTimeout = 30 * time.Second
)

var (
	errFrameTooLong = errors.New("message is too long")
	errDescriptors  = errors.New("message carries descriptors")
	errBudget       = errors.New("too many large messages of one user")
)

// A frameReader cuts a connection's bytes into messages.
type frameReader struct {
	conn    *net.UnixConn
	timeout time.Duration
	// reserve asks for n more bytes of buffer; a negative n gives them back.
	reserve func(n int) bool

	buf        []byte
	start, end int // buf[start:end] has arrived and is not handed out yet
	scanned    int // buf[start:start+scanned] holds no terminator
	begun      bool
}

func newFrameReader(conn *net.UnixConn, timeout time.Duration, reserve func(int) bool) *frameReader {
	return &frameReader{
		conn:    conn,
		timeout: timeout,
		reserve: reserve,
		buf:     make([]byte, readBuffer),
		begun:   true, // the first message is due from now on
	}
}

// next returns the next message without its terminator, valid until the
// following call. It returns io.EOF if the peer closed between two messages,
// and ctx's error if ctx ended.
func (r *frameReader) next(ctx context.Context) ([]byte, error) {
	if r.start == r.end {
		r.shrink()
	}
	if err := r.conn.SetReadDeadline(r.deadline()); err != nil {
		return nil, err
	}
	for {
		if i := bytes.IndexByte(r.buf[r.start+r.scanned:r.end], 0); i >= 0 {
			frame := r.buf[r.start : r.start+r.scanned+i]
			r.start += r.scanned + i + 1
			r.scanned, r.begun = 0, false
			return frame, nil
		}
		r.scanned = r.end - r.start
		if err := r.fill(ctx); err != nil {
			return nil, err
		}
	}
}

// close gives the buffer back.
func (r *frameReader) close() {
	r.start, r.end = 0, 0
	r.shrink()
}

func (r *frameReader) deadline() time.Time {
	if r.begun || r.start < r.end {
		return time.Now().Add(r.timeout)
	}
	return time.Time{}
}

// fill reads once. No room is given for control data, so the kernel drops
// descriptors before this process ever holds them, and says that it did.
func (r *frameReader) fill(ctx context.Context) error {
	if err := r.makeRoom(); err != nil {
		return err
	}
	// Serve sets a deadline in the past once ctx has ended, but the one set
	// for this message may have replaced it.
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n, _, flags, _, err := r.conn.ReadMsgUnix(r.buf[r.end:], nil)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF) && r.start < r.end:
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return err
	case flags&unix.MSG_CTRUNC != 0:
		return errDescriptors
	}
	if r.start == r.end && !r.begun {
		r.begun = true
		if err := r.conn.SetReadDeadline(r.deadline()); err != nil {
			return err
		}
	}
	r.end += n
	return nil
}

// makeRoom makes r.buf[r.end:] non-empty.
func (r *frameReader) makeRoom() error {
	if r.end < len(r.buf) {
		return nil
	}
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
		return nil
	}
	if len(r.buf) >= maxFrame {
		return errFrameTooLong
	}
	size := min(2*len(r.buf), maxFrame)
	if !r.reserve(size - len(r.buf)) {
		return errBudget
	}
	larger := make([]byte, size)
	copy(larger, r.buf)
	r.buf = larger
	return nil
}

func (r *frameReader) shrink() {
	r.start, r.end = 0, 0
	if len(r.buf) == readBuffer {
		return
	}
	r.reserve(readBuffer - len(r.buf))
	r.buf = make([]byte, readBuffer)
}

// hungUp waits until the peer can neither send nor receive any more, and
// returns true, or until the connection's read deadline passes, and returns
// false. What the peer sends meanwhile stays unread.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(p, 0)
		return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
