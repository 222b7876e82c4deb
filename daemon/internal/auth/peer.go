package auth

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// PeerCaller returns who has connected to the other end of conn, whoever uses
// it now. PIDFD is nil if that process has been reaped, and before Linux 6.5,
// which does not pin it.
func PeerCaller(conn *net.UnixConn) (Caller, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Caller{}, fmt.Errorf("cannot tell who calls: %w", err)
	}
	var c Caller
	var credErr error
	err = raw.Control(func(fd uintptr) { c, credErr = peerOf(int(fd)) })
	if err == nil {
		err = credErr
	}
	if err != nil {
		return Caller{}, fmt.Errorf("cannot tell who calls: %w", err)
	}
	return c, nil
}

func peerOf(sock int) (Caller, error) {
	cred, err := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Caller{}, err
	}
	c := Caller{UID: cred.Uid}
	if fd, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
		// Without a process, only those can be answered whom nobody asks about.
		c.PIDFD, _ = proc.FromFD(fd)
	}
	return c, nil
}
