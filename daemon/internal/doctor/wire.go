package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A tap is a packet socket on one link: it hears and says frames as they are,
// whatever firewalls think of them.
type tap struct{ fd int }

// maxFrame is more than any frame that is waited for has.
const maxFrame = 4096

// tapOn opens a tap on the link of that index for frames of one kind. The caller
// closes it.
func (s *Space) tapOn(index int, kind uint16) (*tap, error) {
	fd := -1
	err := s.in(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(kind), Ifindex: index})
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("cannot open a packet socket: %w", err)
	}
	return &tap{fd}, nil
}

// swapped returns n in the order of the network.
func swapped(n uint16) uint16 { return n<<8 | n>>8 }

func (t *tap) close() { unix.Close(t.fd) }

func (t *tap) send(frame []byte) error {
	_, err := unix.Write(t.fd, frame)
	return err
}

// ask sends the frame, again after a while, and calls take for each frame that
// comes, and with none from time to time, until that says it is enough or the
// time is over.
func (t *tap) ask(ctx context.Context, frame []byte, limit time.Duration, take func(frame []byte) (enough bool)) error {
	const repeat = 300 * time.Millisecond
	end, again := time.Now().Add(limit), time.Time{}
	buffer := make([]byte, maxFrame)
	for {
		now := time.Now()
		if ctx.Err() != nil || !now.Before(end) {
			return nil
		}
		if !now.Before(again) {
			if err := t.send(frame); err != nil {
				return err
			}
			again = now.Add(repeat)
		}
		wait := min(time.Until(end), time.Until(again), 50*time.Millisecond)
		if !readable(t.fd, wait) {
			if take(nil) {
				return nil
			}
			continue
		}
		n, from, err := unix.Recvfrom(t.fd, buffer, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_OUTGOING {
			continue // what we said ourselves
		}
		if take(buffer[:n]) {
			return nil
		}
	}
}

func readable(fd int, wait time.Duration) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, max(int(wait.Milliseconds()), 1))
	return err == nil && n > 0
}

// sendRaw sends a whole IP packet as this namespace's own. That a rule drops it,
// or that it cannot be routed, is no error: its journey tells.
func (s *Space) sendRaw(to netip.Addr, packet []byte) error {
	return s.in(func() error {
		domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.As16()})
		if to.Is4() {
			domain, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		err = unix.Sendto(fd, packet, 0, sa)
		if slices.Contains([]error{unix.EPERM, unix.EINVAL, unix.ENETUNREACH, unix.EHOSTUNREACH}, err) {
			return nil
		}
		return err
	})
}

// dial connects from the namespace; it does not wait for longer than limit.
func (s *Space) dial(ctx context.Context, network string, to netip.AddrPort, limit time.Duration) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = s.in(func() error {
		// One address of one family is dialled on the thread that asks.
		conn, err = (&net.Dialer{}).DialContext(ctx, network, to.String())
		return err
	})
	return conn, err
}
