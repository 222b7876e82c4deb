// Package socket makes Unix sockets between this process and others, and takes
// the descriptors that come over them. It knows nothing of what is said there.
package socket

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Pair returns two sockets that are connected to each other, the second of them
// for another process. kind is unix.SOCK_STREAM or unix.SOCK_SEQPACKET.
func Pair(kind int) (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	first := os.NewFile(uintptr(pair[0]), "ours")
	theirs = os.NewFile(uintptr(pair[1]), "theirs")
	defer first.Close()
	if ours, err = Conn(first); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Conn returns f, a socket, as one of its own: f is still the caller's to close.
func Conn(f *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use a socket: %w", err)
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("cannot use a socket: %w", unix.ENOTSOCK)
	}
	return c, nil
}

// Files returns the descriptors of control messages, which are the caller's. All
// that can be told apart are returned with an error, too.
func Files(control []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	for i := range messages {
		fds, notRights := unix.ParseUnixRights(&messages[i])
		if notRights != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, err
}
