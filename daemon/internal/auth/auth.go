// Package auth tells who calls, and asks polkit whether he may. It must not
// know what is asked for beyond the action's name.
package auth

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A Caller is a process that asks for something.
type Caller struct {
	// UID is the effective UID that it connected with, as the kernel or the
	// bus daemon told it.
	UID uint32
	// PIDFD is the process itself, nil if it has gone. Close closes it.
	PIDFD *proc.PIDFD

	sender string // its unique name, if it calls over the bus
}

// Close releases what the Caller holds.
func (c Caller) Close() { c.PIDFD.Close() }

// Privileged reports whether nobody needs to be asked about c: it runs as the
// user that the daemon runs as, root for the system's.
func (c Caller) Privileged() bool { return c.UID == uint32(os.Geteuid()) }

// An Authority answers who a sender is and what he may do.
type Authority struct {
	conn *dbus.Conn
	log  *slog.Logger
}

// New returns an Authority that asks over conn, which is from bus.Dial and
// stays the caller's.
func New(conn *dbus.Conn, log *slog.Logger) *Authority {
	return &Authority{conn: conn, log: log}
}

// busDaemon is the bus itself, which vouches for its clients.
var busDaemon = bus.Target{Name: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus"}

// BusCaller returns who has the unique name sender. The error is a
// machine1.RemoteError if nobody has it any more. Nothing is cached: unique
// names are given out again after the bus restarts.
func (a *Authority) BusCaller(ctx context.Context, sender string) (Caller, error) {
	var credentials map[string]dbus.Variant
	err := bus.Call(ctx, a.conn, busDaemon, busDaemon.Name+".GetConnectionCredentials", false, []any{sender}, &credentials)
	if err != nil {
		return Caller{}, fmt.Errorf("cannot tell who %s is: %w", sender, err)
	}
	c := Caller{sender: sender, PIDFD: a.process(ctx, sender, credentials)}
	uid, ok := credentials["UnixUserID"].Value().(uint32)
	if !ok {
		c.Close()
		return Caller{}, machine1.Errorf(machine1.ErrAccessDenied,
			"access denied: the bus does not tell whose connection %s is", sender)
	}
	c.UID = uid
	return c, nil
}

// process pins the process of sender by what the bus says, which is a
// descriptor if the bus is new enough.
func (a *Authority) process(ctx context.Context, sender string, credentials map[string]dbus.Variant) (process *proc.PIDFD) {
	var err error = unix.ESRCH
	if fd, ok := credentials["ProcessFD"].Value().(dbus.UnixFD); ok {
		process, err = proc.FromFD(int(fd))
	} else if pid, ok := credentials["ProcessID"].Value().(uint32); ok && pid != 0 {
		process, err = a.pin(ctx, sender, pid)
	}
	if err != nil {
		a.log.Debug("a caller's process is not known", "sender", sender, "error", err)
		return nil
	}
	return process
}

// pin opens the process pid of sender. If the sender is still connected
// afterwards, the PID had not been given to another process.
func (a *Authority) pin(ctx context.Context, sender string, pid uint32) (*proc.PIDFD, error) {
	process, err := proc.Open(int(pid))
	if err != nil {
		return nil, err
	}
	var connected bool
	err = bus.Call(ctx, a.conn, busDaemon, busDaemon.Name+".NameHasOwner", false, []any{sender}, &connected)
	if err == nil && !connected {
		err = unix.ESRCH
	}
	if err != nil {
		process.Close()
		return nil, err
	}
	return process, nil
}
