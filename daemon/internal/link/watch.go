package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long changes are collected before they are told of: one of a
// person or program comes as many.
const settle = 200 * time.Millisecond

// groups are the multicast groups of links, addresses and routes.
const groups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)

// Watch calls changed once at first, as nobody would have told of what was before,
// and after links, addresses or routes of the namespace have changed, until ctx
// ends, and returns nil then. One call may be for many changes; after the last one
// there always is a call.
func (s *Space) Watch(ctx context.Context, changed func()) error {
	var socket *os.File
	err := s.inside(func() (err error) {
		socket, err = listen()
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot watch links: %w", err)
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.SetReadDeadline(time.Now()) })()
	// What is in a message does not matter, nor that there were too many.
	ignored := make([]byte, 1)
	changed()
	for {
		_, err := socket.Read(ignored)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot watch links: %w", err)
		}
		if !collect(ctx, socket, ignored) {
			return nil
		}
		changed()
	}
}

// collect takes what else comes, and reports whether ctx has not ended.
func collect(ctx context.Context, socket *os.File, ignored []byte) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(settle):
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), ignored, unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return true
			}
		}
	})
	return true
}

func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}
