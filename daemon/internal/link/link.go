// Package link looks at and changes the links, addresses, routes and switches of
// a network namespace, the host's or that of a process. It knows no machines.
//
// A namespace is entered by a thread that is thrown away; what is kept of it is
// a netlink socket, which was made there.
package link

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/task"
)

// answerTimeout is how long the kernel may take for an answer. It answers in the
// call that asks, so this only ends what cannot happen.
var answerTimeout = unix.Timeval{Sec: 5}

// ErrShared says that a process is in the host's network namespace.
var ErrShared = netns.ErrShared

// ErrNoLink says that there is no link of a name or index.
var ErrNoLink = errors.New("no such link")

// A Space is a network namespace. It is kept alive, even if no process is in it,
// until Close. A Space is safe for concurrent use.
type Space struct {
	namespace *os.File // nil for our own

	mu      sync.Mutex
	sockets map[int]*nl.SocketHandle // by netlink protocol
}

// Host returns the namespace that this process is in.
func Host() (*Space, error) {
	return open(nil)
}

// Of returns the namespace that leader is in. The error wraps ErrShared if it is
// ours, and unix.ESRCH if leader has ended.
func Of(leader *proc.PIDFD) (*Space, error) {
	namespace, err := netns.Open(leader)
	if err != nil {
		return nil, fmt.Errorf("cannot enter the network namespace of process %d: %w", leader.PID(), err)
	}
	return open(namespace)
}

func open(namespace *os.File) (*Space, error) {
	s := &Space{namespace: namespace, sockets: map[int]*nl.SocketHandle{}}
	if _, err := s.socket(unix.NETLINK_ROUTE); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close gives the namespace back. What Configure returned cannot undo anything
// afterwards.
func (s *Space) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, socket := range s.sockets {
		socket.Close()
	}
	s.sockets = nil
	if s.namespace == nil {
		return nil
	}
	return s.namespace.Close()
}

// inside runs do on a thread that is in the namespace.
func (s *Space) inside(do func() error) error {
	if s.namespace == nil {
		return do()
	}
	return task.OnThread(func() error {
		if err := unix.Setns(int(s.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot enter a network namespace: %w", err)
		}
		return do()
	})
}

// socket returns the socket for a netlink protocol, made in the namespace.
func (s *Space) socket(protocol int) (*nl.SocketHandle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets == nil {
		return nil, os.ErrClosed
	}
	if socket, ok := s.sockets[protocol]; ok {
		return socket, nil
	}
	var socket *nl.NetlinkSocket
	err := s.inside(func() (err error) {
		socket, err = newSocket(protocol)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	s.sockets[protocol] = &nl.SocketHandle{Socket: socket}
	return s.sockets[protocol], nil
}
