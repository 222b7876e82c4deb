// Package proc names processes by pidfd and reads what the kernel tells of
// them: cgroup, owner, namespaces, UID map. It knows nothing of machines.
//
// What was read from /proc/PID is believed only after the pidfd was asked
// once more: the PID may have been given to another process meanwhile.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A PIDFD is one process, pinned: it never comes to mean another one. It is
// safe for concurrent use, also against Close.
type PIDFD struct {
	file *os.File // in the poller, so that Close ends Wait
	pid  int
	id   uint64
}

// Open pins the process pid. The error wraps unix.ESRCH if there is none.
func Open(pid int) (*PIDFD, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot pin process %d: %w", pid, err)
	}
	return newPIDFD(fd, pid)
}

// FromFD makes a PIDFD of a descriptor that came from elsewhere. It owns fd
// from then on, also if it fails.
func FromFD(fd int) (*PIDFD, error) {
	pid, err := pidOf(fd)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot tell the process of a pidfd: %w", err)
	}
	return newPIDFD(fd, pid)
}

func newPIDFD(fd, pid int) (*PIDFD, error) {
	unix.CloseOnExec(fd)
	id, err := pidfdID(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return &PIDFD{file: os.NewFile(uintptr(fd), "pidfd"), pid: pid, id: id}, nil
}

// PID returns the process's number, which is only good for talking about it
// once it has been reaped.
func (p *PIDFD) PID() int { return p.pid }

// ID returns the number that the kernel gives to one process only until the
// next boot, 0 before Linux 6.9.
func (p *PIDFD) ID() uint64 { return p.id }

// Close gives the descriptor back and ends Wait. Closing again does nothing.
func (p *PIDFD) Close() error {
	if err := p.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Dup returns a PIDFD of the same process with a life of its own.
func (p *PIDFD) Dup() (*PIDFD, error) {
	var dup int
	if err := p.WithFD(func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot duplicate the pidfd of process %d: %w", p.pid, err)
	}
	return newPIDFD(dup, p.pid)
}

// WithFD calls fn with the descriptor, which is valid only inside fn.
func (p *PIDFD) WithFD(fn func(fd int) error) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	if err := raw.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil {
		return err
	}
	return fnErr
}

// Alive reports whether the process runs. A zombie does not, and a closed
// PIDFD does not tell.
func (p *PIDFD) Alive() bool {
	alive := false
	err := p.WithFD(func(fd int) error {
		alive = !readable(fd)
		return nil
	})
	return err == nil && alive
}

// verify fails with ESRCH unless the process still runs, so that what was
// read from /proc/PID a moment ago was about it.
func (p *PIDFD) verify() error {
	if !p.Alive() {
		return unix.ESRCH
	}
	return nil
}

// Signal sends sig.
func (p *PIDFD) Signal(sig unix.Signal) error {
	err := p.WithFD(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
	if err != nil {
		return fmt.Errorf("cannot send signal %d to process %d: %w", sig, p.pid, err)
	}
	return nil
}

// Wait returns nil once the process has ended. It returns an error if ctx
// ends or the PIDFD is closed first.
func (p *PIDFD) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	for {
		err := raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			p.file.SetReadDeadline(time.Time{})
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			// Another waiter's context ended, not ours.
			p.file.SetReadDeadline(time.Time{})
		default:
			return fmt.Errorf("cannot wait for process %d: %w", p.pid, err)
		}
	}
}

func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

// pidfsMagic is the type of the file system that pidfds live on since 6.9.
const pidfsMagic = 0x50494446

// pidfdID returns the inode number of fd, 0 where all pidfds share one.
func pidfdID(fd int) (uint64, error) {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(fd, &fsys); err != nil {
		return 0, err
	}
	if fsys.Type != pidfsMagic {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
