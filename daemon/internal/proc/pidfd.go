package proc

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A PIDFD is one process, pinned: it never comes to mean another one. It is
// safe for concurrent use, also against Close. A nil *PIDFD is a process that
// has gone: nothing can be learned of it.
type PIDFD struct {
	file *os.File
	pid  int
	id   uint64

	closed atomic.Bool
}

// Open pins the process pid, which may be a zombie. The error wraps unix.ESRCH
// if there is none.
func Open(pid int) (*PIDFD, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot pin process %d: %w", pid, err)
	}
	return newPIDFD(fd, pid)
}

// FromFD pins the process that a pidfd from elsewhere is for. It owns fd from
// then on, also if it fails. The error wraps unix.ESRCH if the process has been
// reaped or is in none of our PID namespaces, unix.EBADF if fd is no pidfd.
func FromFD(fd int) (*PIDFD, error) {
	defer unix.Close(fd)
	pid, err := pidOf(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot tell the process of a descriptor: %w", err)
	}
	// Whoever sent fd shares it with us, and what a Watcher was told of it
	// would outlive our closing it. So have one of our own.
	p, err := Open(pid)
	if err != nil {
		return nil, err
	}
	// It is the same process if the number still belongs to the first one.
	if again, err := pidOf(fd); err != nil || again != pid {
		p.Close()
		return nil, fmt.Errorf("cannot pin process %d: %w", pid, unix.ESRCH)
	}
	return p, nil
}

func newPIDFD(fd, pid int) (*PIDFD, error) {
	id, err := pidfdID(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return &PIDFD{
		file: os.NewFile(uintptr(fd), "pidfd"),
		pid:  pid,
		id:   id,
	}, nil
}

// PID returns the process's number, which is only good for talking about it
// once it has been reaped. It is 0 for a nil p.
func (p *PIDFD) PID() int {
	if p == nil {
		return 0
	}
	return p.pid
}

// ID returns the number that the kernel gives to one process only until the
// next boot, 0 before Linux 6.9 and for a nil p.
func (p *PIDFD) ID() uint64 {
	if p == nil {
		return 0
	}
	return p.id
}

// Close gives the descriptor back. Closing again does nothing.
func (p *PIDFD) Close() error {
	if p == nil {
		return nil
	}
	if p.closed.Swap(true) {
		return nil
	}
	return p.file.Close()
}

// Dup returns a PIDFD of the same process with a life of its own.
func (p *PIDFD) Dup() (*PIDFD, error) {
	var dup int
	if err := p.WithFD(func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot duplicate the pidfd of process %d: %w", p.PID(), err)
	}
	return newPIDFD(dup, p.pid)
}

// WithFD calls fn with the descriptor, which is valid only inside fn. Close
// waits for fn, so fn must not wait for anybody.
func (p *PIDFD) WithFD(fn func(fd int) error) error {
	if p == nil {
		return unix.ESRCH
	}
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	if err := raw.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil {
		return p.unusable(err)
	}
	return fnErr
}

// Alive reports whether the process runs. A zombie does not, and a closed
// PIDFD does not tell.
func (p *PIDFD) Alive() bool {
	alive := false
	err := p.WithFD(func(fd int) error {
		alive = !exited(fd)
		return nil
	})
	return err == nil && alive
}

// Signal sends sig. The error wraps unix.ESRCH if the process has been reaped.
func (p *PIDFD) Signal(sig unix.Signal) error {
	err := p.WithFD(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if err != nil {
		return fmt.Errorf("cannot send signal %d to process %d: %w", sig, p.PID(), err)
	}
	return nil
}

// unusable returns the reason for err, which Go does not tell of a raw file.
func (p *PIDFD) unusable(err error) error {
	if p.closed.Load() {
		return os.ErrClosed
	}
	return err
}

// exited reports whether the process of a pidfd has ended: only then it is
// readable.
func exited(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
