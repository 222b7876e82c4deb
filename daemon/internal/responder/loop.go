package responder

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A loop waits for many sockets in one goroutine. All that it calls runs in that
// goroutine, so what belongs to it needs no locks.
//
// A goroutine for each socket would take ten times the memory, for a machine
// that says something once in its life.
type loop struct {
	epoll   *os.File
	raw     syscall.RawConn
	sources map[int32]*source
	ticks   []tick
	closed  atomic.Bool
}

// A tick does what is due now and returns when it is to be called next, at the
// latest; the zero Time is never.
type tick func(now time.Time) time.Time

// A source is a socket that is read when there is something to read.
type source struct {
	fd     int
	limit  *bucket // nil: read as it comes
	resume time.Time
	// receive reads and handles one message, for which buffer is. It returns
	// false if there was none.
	receive func(buffer []byte, now time.Time) bool
}

const (
	// batch is how much is read from one socket before the next one's turn.
	batch = 32
	// bufferSize is the longest datagram there is, bytes.
	bufferSize = 65535
)

// buffers are shared by all responders: one is taken only while there is
// something to be read.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func newLoop() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for sockets: %w", err)
	}
	// Go waits for descriptors itself that do not block, an epoll's too.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot wait for sockets: %w", err)
	}
	l := &loop{epoll: os.NewFile(uintptr(fd), "epoll"), sources: map[int32]*source{}}
	if l.raw, err = l.epoll.SyscallConn(); err == nil {
		err = l.epoll.SetReadDeadline(time.Time{})
	}
	if err != nil {
		l.epoll.Close()
		return nil, fmt.Errorf("cannot wait for sockets: %w", err)
	}
	return l, nil
}

// add takes over s, which is closed with the loop. If it fails it has closed it.
func (l *loop) add(s *source) error {
	if err := l.watch(s); err != nil {
		unix.Close(s.fd)
		return fmt.Errorf("cannot wait for a socket: %w", err)
	}
	l.sources[int32(s.fd)] = s
	return nil
}

// own takes over a socket that is never read.
func (l *loop) own(fd int) { l.sources[int32(fd)] = &source{fd: fd} }

func (l *loop) watch(s *source) error {
	return l.control(unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)})
}

func (l *loop) control(op, fd int, event *unix.EpollEvent) (err error) {
	if e := l.raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), op, fd, event) }); e != nil {
		return e
	}
	return err
}

// remove closes a socket.
func (l *loop) remove(fd int) {
	delete(l.sources, int32(fd))
	unix.Close(fd)
}

// run handles messages until the loop is closed.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 8)
	var n int
	var failed error
	ready := func(fd uintptr) bool {
		n, failed = unix.EpollWait(int(fd), events, 0)
		return n > 0 || failed != nil && failed != unix.EINTR
	}
	for {
		if err := l.epoll.SetReadDeadline(l.tick(time.Now())); err != nil {
			return l.unlessClosed(err)
		}
		n, failed = 0, nil
		err := l.raw.Read(ready)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// Nobody looked at the sockets if it was exceeded before. They have
			// their turn also when something is due all the time.
			err = l.raw.Control(func(fd uintptr) { ready(fd) })
		}
		if err != nil {
			return l.unlessClosed(err)
		}
		if failed != nil && failed != unix.EINTR {
			return fmt.Errorf("cannot wait for sockets: %w", failed)
		}
		l.handle(events[:max(n, 0)])
	}
}

// unlessClosed returns nil if the loop was closed. What a raw read says then is
// no os.ErrClosed.
func (l *loop) unlessClosed(err error) error {
	if l.closed.Load() {
		return nil
	}
	return fmt.Errorf("cannot wait for sockets: %w", err)
}

func (l *loop) handle(events []unix.EpollEvent) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	now := time.Now()
	for _, event := range events {
		// A descriptor of an event may be closed by now, or be another socket,
		// which then has nothing to be read.
		if s := l.sources[event.Fd]; s != nil {
			l.read(s, buffer[:], now)
		}
	}
}

func (l *loop) read(s *source, buffer []byte, now time.Time) {
	for range batch {
		if s.limit != nil {
			if wait := s.limit.wait(now); wait > 0 {
				l.pause(s, now.Add(wait))
				return
			}
		}
		if !s.receive(buffer, now) {
			return
		}
		if s.limit != nil {
			s.limit.spend()
		}
	}
}

// pause leaves s alone for a while. It is taken out altogether, as errors are
// reported however little is asked for.
func (l *loop) pause(s *source, until time.Time) {
	if err := l.control(unix.EPOLL_CTL_DEL, s.fd, nil); err == nil {
		s.resume = until
	}
}

// tick does what is due and returns when there is more.
func (l *loop) tick(now time.Time) (next time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, t := range l.ticks {
		sooner(t(now))
	}
	for _, s := range l.sources {
		if s.resume.IsZero() {
			continue
		}
		if !s.resume.After(now) {
			s.resume = time.Time{}
			if l.watch(s) != nil {
				s.resume = now.Add(time.Second)
			}
		}
		sooner(s.resume)
	}
	return next
}

// close ends run. It may be called by any goroutine.
func (l *loop) close() {
	l.closed.Store(true)
	l.epoll.Close()
}

// closeAll closes the sockets, when run does not run. The kernel takes ten
// milliseconds to let go of a packet socket: all wait for that at once.
func (l *loop) closeAll() {
	l.epoll.Close()
	var wg sync.WaitGroup
	for fd := range l.sources {
		wg.Go(func() { unix.Close(int(fd)) })
	}
	wg.Wait()
	clear(l.sources)
}
