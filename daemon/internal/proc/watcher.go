package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Watcher tells of the end of many processes. It needs one goroutine in all:
// one for each process would cost more memory than everything else that is
// known of a machine. It is safe for concurrent use.
type Watcher struct {
	epoll *os.File // in Go's poller, as an epoll descriptor is readable itself

	mu      sync.Mutex
	last    uint64
	watched map[uint64]watch  // by the number that the kernel keeps for us
	numbers map[*PIDFD]uint64 // of watched
}

type watch struct {
	process *PIDFD
	ended   func()
}

// NewWatcher returns a Watcher that tells nothing before Run.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // for os.NewFile, which then uses the poller
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch processes: %w", err)
	}
	return &Watcher{
		epoll:   os.NewFile(uintptr(fd), "epoll"),
		watched: map[uint64]watch{},
		numbers: map[*PIDFD]uint64{},
	}, nil
}

// Watch has ended called, from Run's goroutine, once p has ended, even if that
// was before. It is called at most once, and never after Forget; it must not
// block. One p can be watched once at a time. The error wraps os.ErrClosed if p
// was closed.
func (w *Watcher) Watch(p *PIDFD, ended func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	number := w.last + 1
	err := p.WithFD(func(fd int) error {
		// An epoll event carries 64 bits, which x/sys has as two halves.
		event := unix.EpollEvent{
			Events: unix.EPOLLIN | unix.EPOLLONESHOT,
			Fd:     int32(uint32(number)),
			Pad:    int32(uint32(number >> 32)),
		}
		return w.control(unix.EPOLL_CTL_ADD, fd, &event)
	})
	if err != nil {
		return fmt.Errorf("cannot watch process %d: %w", p.PID(), err)
	}
	w.last = number
	w.watched[number] = watch{p, ended}
	w.numbers[p] = number
	return nil
}

// Forget ends the watch over p, if there is one, closed or not.
func (w *Watcher) Forget(p *PIDFD) {
	w.mu.Lock()
	defer w.mu.Unlock()
	number, ok := w.numbers[p]
	if !ok {
		return
	}
	delete(w.watched, number)
	delete(w.numbers, p)
	// The kernel has done that already if p is closed.
	_ = p.WithFD(func(fd int) error { return w.control(unix.EPOLL_CTL_DEL, fd, nil) })
}

func (w *Watcher) control(op, fd int, event *unix.EpollEvent) error {
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var ctlErr error
	if err := raw.Control(func(epoll uintptr) { ctlErr = unix.EpollCtl(int(epoll), op, fd, event) }); err != nil {
		return err
	}
	return ctlErr
}

// Run calls what was given to Watch until ctx ends, and returns nil then. The
// Watcher is closed afterwards.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.epoll.Close()
	stop := context.AfterFunc(ctx, func() { w.epoll.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	for {
		var n int
		var waitErr error
		err := raw.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events, 0)
			return n != 0 && waitErr != unix.EINTR
		})
		if ctx.Err() != nil {
			return nil
		}
		if err := errors.Join(err, waitErr); err != nil {
			return fmt.Errorf("cannot watch processes: %w", err)
		}
		for _, e := range events[:n] {
			w.end(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		}
	}
}

// end tells of the end of the process with this number.
func (w *Watcher) end(number uint64) {
	w.mu.Lock()
	ended := w.watched[number]
	w.mu.Unlock()
	if ended.process == nil {
		return // forgotten meanwhile
	}
	w.Forget(ended.process)
	ended.ended()
}
