package busapi

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
)

// relayStep is how long a wait for a caller's descriptor goes on until somebody
// looks whether it is still wanted.
const relayStep = 200 * time.Millisecond

// errUnread says that nobody reads any more what a caller wanted to be told.
var errUnread = errors.New("nobody reads the log any more")

// relay returns what writes lines to a descriptor that a caller has given, and a
// context that ends when nobody reads them. It never hangs for longer than that
// context: the descriptor is left as it is, blocking or not, since others have it
// as well, who may fill what it leads to at any moment. stop is to be called before
// the descriptor is closed: no line is written after it.
func relay(ctx context.Context, to *os.File) (_ context.Context, line func(string), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	fd, done := int(to.Fd()), make(chan struct{})
	out, err := openOutlet(fd)
	if err != nil {
		cancel(err)
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if ready := wait(fd, 0); ready&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
				cancel(errUnread)
			}
		}
	}()
	// Whoever writes has it: the number of the descriptor is another's as soon as
	// it is closed.
	var writing sync.Mutex
	line = func(text string) {
		writing.Lock()
		defer writing.Unlock()
		for rest := append([]byte(text), '\n'); len(rest) > 0 && ctx.Err() == nil; {
			if wait(fd, unix.POLLOUT)&unix.POLLOUT == 0 {
				continue
			}
			n, err := out.write(rest)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				return
			}
			rest = rest[max(n, 0):]
		}
	}
	return ctx, line, func() {
		cancel(nil)
		<-done
		writing.Lock()
		defer writing.Unlock()
		out.close()
	}
}

// An outlet writes to a caller's descriptor, and to a pipe or a socket without
// waiting for room.
type outlet struct {
	fd     int
	opened bool // by us
	socket bool
}

func openOutlet(fd int) (outlet, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return outlet{}, err
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		own, err := progress.Reopen(fd)
		if errors.Is(err, unix.ENXIO) {
			err = errUnread
		}
		return outlet{fd: own, opened: err == nil}, err
	case unix.S_IFSOCK:
		return outlet{fd: fd, socket: true}, nil
	}
	return outlet{fd: fd}, nil
}

// write writes as much as there is room for. It fails with EAGAIN if that is
// nothing.
func (o outlet) write(b []byte) (n int, err error) {
	if o.socket {
		return unix.SendmsgN(o.fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	return unix.Write(o.fd, b)
}

func (o outlet) close() {
	if o.opened {
		unix.Close(o.fd)
	}
}

// wait waits a moment for something to become of a descriptor.
func wait(fd int, events int16) (ready int16) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if _, err := unix.Poll(fds, int(relayStep/time.Millisecond)); err != nil {
		return 0
	}
	return fds[0].Revents
}
