package ptyfwd

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A waker waits for a master and can be interrupted. A master that is hung up
// stays readable for poll(2), so news of it is awaited edge-triggered.
type waker struct {
	epoll   int
	over    chan struct{} // closed once the session is over
	stopped int           // eventfd, readable for ever from then on
	nudged  int           // eventfd, readable when the output has to look again
}

func newWaker(master int) (*waker, error) {
	w := &waker{over: make(chan struct{}), epoll: -1, stopped: -1, nudged: -1}
	var errs [3]error
	w.epoll, errs[0] = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	w.stopped, errs[1] = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	w.nudged, errs[2] = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	err := errors.Join(errs[:]...)
	for fd, events := range map[int]uint32{master: unix.EPOLLIN | unix.EPOLLET, w.stopped: unix.EPOLLIN, w.nudged: unix.EPOLLIN} {
		if err == nil {
			err = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
		}
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("cannot wait for events: %w", err)
	}
	return w, nil
}

// wait waits for news of the master or a nudge; false means to stop.
func (w *waker) wait() (goOn bool) {
	var events [3]unix.EpollEvent
	n, err := unix.EpollWait(w.epoll, events[:], -1)
	if err != nil {
		return err == unix.EINTR
	}
	for _, event := range events[:n] {
		switch int(event.Fd) {
		case w.stopped:
			return false
		case w.nudged:
			var count [8]byte
			_, _ = unix.Read(w.nudged, count[:])
		}
	}
	return true
}

// poll waits until fd is ready for one of the events, and returns which.
// Nothing is returned if the session is over first.
func (w *waker) poll(fd int, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(w.stopped), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || fds[1].Revents != 0 {
			return 0
		}
		return fds[0].Revents
	}
}

func (w *waker) nudge() { signalEvent(w.nudged) }

func (w *waker) stop() {
	close(w.over)
	signalEvent(w.stopped)
}

func signalEvent(fd int) {
	_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (w *waker) close() {
	for _, fd := range []int{w.epoll, w.stopped, w.nudged} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
