// Package auth tells who calls, and asks polkit whether he may. It must not
// know what is asked for beyond the action's name.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A Caller is a process that asks for something.
type Caller struct {
	// UID is the effective UID, as the kernel or the bus daemon told it.
	UID uint32
	// PIDFD is the process itself. Close closes it.
	PIDFD *proc.PIDFD

	sender string // its unique name, if it calls over the bus
}

// Close releases what the Caller holds.
func (c Caller) Close() {
	if c.PIDFD != nil {
		c.PIDFD.Close()
	}
}

// Privileged reports whether nobody needs to be asked about c: it runs as the
// user that the daemon runs as, root for the system's.
func (c Caller) Privileged() bool { return c.UID == uint32(os.Geteuid()) }

// PeerCaller returns who is at the other end of a connection. Its process is
// the one that connected, which the kernel pinned then.
func PeerCaller(conn *net.UnixConn) (Caller, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Caller{}, err
	}
	var creds *unix.Ucred
	var credsErr, pidfdErr error
	pidfd := -1
	if err := raw.Control(func(fd uintptr) {
		creds, credsErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		pidfd, pidfdErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	}); err != nil {
		return Caller{}, err
	}
	if err := errors.Join(credsErr, pidfdErr); err != nil {
		if pidfdErr == nil {
			unix.Close(pidfd)
		}
		return Caller{}, fmt.Errorf("cannot tell who calls: %w", err)
	}
	process, err := proc.FromFD(pidfd)
	if err != nil {
		return Caller{}, err
	}
	return Caller{UID: creds.Uid, PIDFD: process}, nil
}

// An Authority answers who a sender is and what he may do.
type Authority struct {
	conn *dbus.Conn
	log  *slog.Logger
}

// New returns an Authority that asks over conn, which the caller keeps.
func New(conn *dbus.Conn, log *slog.Logger) *Authority {
	return &Authority{conn: conn, log: log}
}

// busDaemon is the bus itself, which vouches for its clients.
var busDaemon = bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}

// BusCaller returns the process behind a unique name. Nothing is cached:
// unique names are given out again after the bus restarts.
func (a *Authority) BusCaller(ctx context.Context, sender string) (Caller, error) {
	var credentials map[string]dbus.Variant
	err := bus.Call(ctx, a.conn, busDaemon, "org.freedesktop.DBus.GetConnectionCredentials", false, []any{sender}, &credentials)
	if err != nil {
		return Caller{}, fmt.Errorf("cannot tell who %s is: %w", sender, err)
	}
	c := Caller{sender: sender}
	pid, pidfd := uint32(0), dbus.UnixFD(-1)
	// Whatever is missing stays as it is and is noticed below.
	hasUID := store(credentials, "UnixUserID", &c.UID)
	hasPID := store(credentials, "ProcessID", &pid)
	hasFD := store(credentials, "ProcessFD", &pidfd)

	switch {
	case hasFD:
		c.PIDFD, err = proc.FromFD(int(pidfd))
	case hasPID:
		c.PIDFD, err = a.pin(ctx, sender, pid)
	default:
		err = errors.New("the bus does not tell its process")
	}
	if err != nil {
		return Caller{}, fmt.Errorf("cannot tell who %s is: %w", sender, err)
	}
	if !hasUID {
		c.Close()
		return Caller{}, fmt.Errorf("cannot tell who %s is: the bus does not tell its user", sender)
	}
	return c, nil
}

// pin opens the process pid of sender. If the sender is still connected
// afterwards, the PID had not been given to another process.
func (a *Authority) pin(ctx context.Context, sender string, pid uint32) (*proc.PIDFD, error) {
	process, err := proc.Open(int(pid))
	if err != nil {
		return nil, err
	}
	var again uint32
	err = bus.Call(ctx, a.conn, busDaemon, "org.freedesktop.DBus.GetConnectionUnixProcessID", false, []any{sender}, &again)
	if err == nil && again != pid {
		err = unix.ESRCH
	}
	if err != nil {
		process.Close()
		return nil, err
	}
	return process, nil
}

func store(from map[string]dbus.Variant, key string, to any) bool {
	v, ok := from[key]
	return ok && v.Store(to) == nil
}

// leaves returns a context that ends when sender leaves the bus, and what
// releases it.
func (a *Authority) leaves(ctx context.Context, sender string) (context.Context, context.CancelFunc, error) {
	match := []dbus.MatchOption{
		dbus.WithMatchSender(busDaemon.Name),
		dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, sender),
	}
	signals := make(chan *dbus.Signal)
	a.conn.Signal(signals)
	if err := a.conn.AddMatchSignalContext(ctx, match...); err != nil {
		a.conn.RemoveSignal(signals)
		return nil, nil, fmt.Errorf("cannot watch %s: %w", sender, machine1.FromBus(err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s, ok := <-signals:
				if !ok {
					cancel(errCallerLeft)
					return
				}
				if s.Name == "org.freedesktop.DBus.NameOwnerChanged" && len(s.Body) == 3 && s.Body[0] == sender {
					cancel(errCallerLeft)
					return
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		a.conn.RemoveSignal(signals)
		if err := a.conn.RemoveMatchSignal(match...); err != nil {
			a.log.Debug("cannot remove a match", "error", err)
		}
	}, nil
}

var errCallerLeft = fmt.Errorf("the caller has left the bus: %w", machine1.ErrDisconnected)
