package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
)

// A socket is used with blocking system calls. A thread that waits in one
// costs less than Go's poller, which wakes three more for every message; the
// price is that shutdown is the only way to end such a wait.
type socket struct {
	file *os.File
	fd   int
}

// dialSocket connects to the first address of the list that answers.
func dialSocket(ctx context.Context, addresses string) (*socket, error) {
	conn, err := bus.DialSocket(ctx, addresses)
	if err != nil {
		return nil, err
	}
	return newSocket(conn)
}

// newSocket takes conn over. conn.File would not do: its file stays with the
// poller, which then wakes a thread for every message all the same.
func newSocket(conn *net.UnixConn) (*socket, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(orig uintptr) {
		fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, fmt.Errorf("cannot duplicate the socket: %w", dupErr)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot make the socket blocking: %w", err)
	}
	return &socket{file: os.NewFile(uintptr(fd), "bus"), fd: fd}, nil
}

// receive waits for something to read. It does so in poll: who waits in recvmsg
// is woken by the kernel for every message that the bus takes from us, too.
// unix.Recvmsg would have the kernel name the sender for each message, and make
// two values of that.
func (s *socket) receive(p, oob []byte) (n, oobn, flags int, err error) {
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	msg := unix.Msghdr{Iov: &iov, Control: unsafe.SliceData(oob)}
	msg.SetIovlen(1)
	ready := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(ready[:], -1); err != nil && err != unix.EINTR {
			return 0, 0, 0, err
		}
		msg.SetControllen(len(oob))
		got, errno := s.call(unix.SYS_RECVMSG, &msg, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		switch {
		case errno == unix.EINTR, errno == unix.EAGAIN:
			continue
		case errno != 0:
			return 0, 0, 0, errno
		case got == 0:
			return 0, int(msg.Controllen), int(msg.Flags), io.EOF
		}
		return got, int(msg.Controllen), int(msg.Flags), nil
	}
}

// send writes what the bus takes of p and then of tail, and passes fds with the
// first byte. If wait is not set and the bus takes nothing, it returns EAGAIN.
func (s *socket) send(p, tail []byte, fds []int, wait bool) (int, error) {
	flags := unix.MSG_NOSIGNAL
	if !wait {
		flags |= unix.MSG_DONTWAIT
	}
	iov := [2]unix.Iovec{{Base: unsafe.SliceData(p)}, {Base: unsafe.SliceData(tail)}}
	iov[0].SetLen(len(p))
	iov[1].SetLen(len(tail))
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(len(iov))
	if len(fds) > 0 {
		oob := unix.UnixRights(fds...)
		msg.Control = unsafe.SliceData(oob)
		msg.SetControllen(len(oob))
	}
	for {
		n, errno := s.call(unix.SYS_SENDMSG, &msg, flags)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// call makes a system call about msg.
func (s *socket) call(trap uintptr, msg *unix.Msghdr, flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall(trap, uintptr(s.fd), uintptr(unsafe.Pointer(msg)), uintptr(flags))
	return int(n), errno
}

// stop makes receive report the end and send fail, those that wait already
// too.
func (s *socket) stop() {
	// Control keeps the number from being another file's by then.
	if raw, err := s.file.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}

// close closes the socket. Nobody may be using it.
func (s *socket) close() error { return s.file.Close() }
