package busapi

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// relayStep is how long a wait for a caller's descriptor goes on until somebody
// looks whether it is still wanted.
const relayStep = 200 * time.Millisecond

// errUnread says that nobody reads any more what a caller wanted to be told.
var errUnread = errors.New("nobody reads the log any more")

// relay returns what writes lines to a descriptor that a caller has given, and a
// context that ends when nobody reads them. It never hangs for longer than that
// context: the descriptor is left as it is, blocking or not, since others have it
// as well. stop is to be called before the descriptor is closed: no line is
// written after it.
func relay(ctx context.Context, to *os.File) (_ context.Context, line func(string), stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	fd, done := int(to.Fd()), make(chan struct{})
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
		for ctx.Err() == nil {
			if wait(fd, unix.POLLOUT)&unix.POLLOUT == 0 {
				continue
			}
			// A line is short enough for a pipe that has room to take it as a whole.
			_, _ = unix.Write(fd, append([]byte(text), '\n'))
			return
		}
	}
	return ctx, line, func() {
		cancel(nil)
		<-done
		writing.Lock()
		defer writing.Unlock()
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
