package varlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxConnections and maxUserConnections are the reference's.
	maxConnections     = 4096
	maxUserConnections = 128

	// maxUserBuffer is how many bytes of unfinished messages the connections
	// of one user may make us hold.
	maxUserBuffer = 16 << 20

	// acceptPause is how long no connection is accepted after the process ran
	// out of descriptors or memory.
	acceptPause = 100 * time.Millisecond
)

// Config is what a server tells of itself, and what it stands on.
type Config struct {
	Vendor, Product, Version, URL string

	// ErrorOf names an error that is no *Error.
	ErrorOf func(error) *Error
	Log     *slog.Logger
	Limits  *Limits // shared by the servers of a process; nil for limits of its own
}

// A Server answers the calls of its interfaces. All interfaces are reachable
// through every socket it serves.
type Server struct {
	config       Config
	log          *slog.Logger
	frameTimeout time.Duration
	methods      map[string]method
	interfaces   []described
	usage        *usage
}

// A described interface is its name and its text.
type described struct{ name, text string }

// NewServer returns a server that has org.varlink.service only.
func NewServer(cfg Config) *Server {
	if cfg.Limits == nil {
		cfg.Limits = NewLimits()
	}
	s := &Server{
		config:       cfg,
		log:          cfg.Log,
		frameTimeout: frameTimeout,
		methods:      map[string]method{},
		usage:        newUsage(cfg.Limits),
	}
	Add(s, &serviceInterface, s)
	return s
}

// Add makes s serve i on target. All must be added before Serve.
func Add[T any](s *Server, i *Interface[T], target T) {
	for _, m := range i.bind(target) {
		if _, taken := s.methods[m.name]; taken {
			panic("varlink: two methods called " + m.name)
		}
		s.methods[m.name] = m
	}
	s.interfaces = append(s.interfaces, described{i.Name, i.Description()})
}

// Serve accepts connections of l, which it closes, until ctx ends (nil) or l
// fails. Calls under way are cancelled then, and waited for. It may serve
// several listeners at once.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	refuseDescriptors(l)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()

	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		uc, err := l.AcceptUnix()
		switch {
		case err == nil:
			if c := s.admit(uc); c != nil {
				connections.Go(func() { c.serve(ctx) })
			}
		case ctx.Err() != nil:
			return nil
		case isShortage(err):
			s.log.Warn("cannot accept varlink connection", "error", err)
			pause(ctx, acceptPause)
		default:
			return fmt.Errorf("cannot accept varlink connections: %w", err)
		}
	}
}

// admit returns the connection of uc, or closes it if there are too many.
func (s *Server) admit(uc *net.UnixConn) *conn {
	cred, err := peerCred(uc)
	if err != nil {
		s.log.Warn("cannot tell who connected", "error", err)
		uc.Close()
		return nil
	}
	log := s.log.With("uid", cred.Uid, "pid", cred.Pid)
	if !s.usage.enter(cred.Uid) {
		log.Debug("too many varlink connections")
		uc.Close()
		return nil
	}
	return &conn{UnixConn: uc, server: s, uid: cred.Uid, log: log}
}

// refuseDescriptors makes sendmsg fail for whoever sends us descriptors, where
// the kernel can (6.16). Where it cannot they are dropped on arrival.
func refuseDescriptors(l *net.UnixListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
	})
}

func peerCred(uc *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(controlErr, err)
}

func isShortage(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
