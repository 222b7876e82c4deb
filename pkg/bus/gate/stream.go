package gate

import (
	"net"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 64 << 10
	maxFDs     = 253 // the kernel passes no more at once
)

// A stream is what arrives at a socket.
type stream struct {
	sock *net.UnixConn
	buf  []byte // buf[r:w] is there
	r, w int
	pos  uint64 // of buf[r] in the stream
	oob  []byte
	fds  []batch // not yet taken
}

// A batch is the descriptors that came with one read. The kernel ends a read
// behind bytes that have descriptors, and the bus sends each message by itself:
// so they belong to the message that the read ended in.
type batch struct {
	end uint64 // position behind the read
	fds []int
}

func newStream(sock *net.UnixConn) *stream {
	return &stream{sock: sock, buf: make([]byte, bufferSize), oob: make([]byte, unix.CmsgSpace(4*maxFDs))}
}

// peek returns the next n bytes, which stay valid until the next call.
func (s *stream) peek(n int) ([]byte, error) {
	if s.r > 0 && s.r+n > len(s.buf) {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if n > len(s.buf) {
		s.buf = append(make([]byte, 0, n), s.buf[:s.w]...)[:n]
	}
	for s.w-s.r < n {
		if err := s.receive(); err != nil {
			return nil, err
		}
	}
	return s.buf[s.r : s.r+n], nil
}

// all returns the bytes that are there, at least one.
func (s *stream) all() ([]byte, error) {
	if s.r == s.w {
		if _, err := s.peek(1); err != nil {
			return nil, err
		}
	}
	return s.buf[s.r:s.w], nil
}

// receive reads at least one byte into a buffer that has room.
func (s *stream) receive() error {
	n, oobn, flags, _, err := s.sock.ReadMsgUnix(s.buf[s.w:], s.oob)
	if err != nil {
		return err
	}
	fds, err := descriptors(s.oob[:oobn])
	s.w += n
	if len(fds) > 0 {
		s.fds = append(s.fds, batch{s.pos + uint64(s.w-s.r), fds})
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = errProtocol
	}
	return err
}

// descriptors returns what came with a control message, which has to be closed
// also beside an error.
func descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		if rights, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, rights...)
		}
	}
	return fds, err
}

// advance drops n bytes that peek or all returned.
func (s *stream) advance(n int) {
	s.r += n
	s.pos += uint64(n)
	if s.r < s.w {
		return
	}
	s.r, s.w = 0, 0
	if len(s.buf) > bufferSize {
		s.buf = make([]byte, bufferSize)
	}
}

// discard drops the next n bytes without keeping them, with their descriptors.
func (s *stream) discard(n int) error {
	for n > 0 {
		b, err := s.all()
		if err != nil {
			return err
		}
		have := min(n, len(b))
		s.advance(have)
		n -= have
	}
	closeAll(s.takeFDs(0))
	return nil
}

// takeFDs takes the descriptors of the next n bytes, which the caller has to
// close.
func (s *stream) takeFDs(n int) (fds []int) {
	for len(s.fds) > 0 && s.fds[0].end <= s.pos+uint64(n) {
		fds = append(fds, s.fds[0].fds...)
		s.fds = s.fds[1:]
	}
	return fds
}

// countFDs returns how many descriptors the next n bytes have, which are there.
func (s *stream) countFDs(n int) (count int) {
	for _, b := range s.fds {
		if b.end <= s.pos+uint64(n) {
			count += len(b.fds)
		}
	}
	return count
}

// close closes the socket, and what nobody has taken.
func (s *stream) close() {
	s.sock.Close()
	for _, b := range s.fds {
		closeAll(b.fds)
	}
	s.fds = nil
}

// forward moves the next n bytes, which are there, with their descriptors.
func (s *stream) forward(n int, to *net.UnixConn) error {
	b, fds := s.buf[s.r:s.r+n], s.takeFDs(n)
	defer closeAll(fds)
	defer s.advance(n)
	if len(fds) > 0 {
		sent, _, err := to.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
		if err != nil {
			return err
		}
		b = b[sent:]
	}
	_, err := to.Write(b)
	return err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
