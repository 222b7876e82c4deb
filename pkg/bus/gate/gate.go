// Package gate makes godbus connections that strangers cannot break. Whoever
// is on a bus may send a signal straight to any connection, and godbus v5.2.4
// does not survive all of them: an array of descriptors makes it panic in its
// own goroutine, a map of signatures makes it close the connection, and
// descriptors that nobody asked for stay open. The bus itself may be a
// stranger's, too: that in a machine, or that of another host.
//
// The gate stands between godbus and the bus. It knows only the headers of
// messages, drops those that a client has not asked for, and ends a connection
// whose answers godbus does not survive.
package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Dial is dbus.Dial with a gate in between. The connection receives replies,
// what the bus itself says, and the signals that it has a match for; nothing
// can be called on it. It ends with ctx. Only the bus of this host has a gate:
// any other address is dialled as it is. The gate has the connection
// authenticated at the bus; Auth, which must be called all the same, tells
// godbus so.
func Dial(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	options = append([]dbus.ConnOption{dbus.WithContext(ctx)}, options...)
	sock, err := dialSocket(ctx, address)
	if errors.Is(err, errNoSocket) {
		return dbus.Dial(address, options...)
	}
	if err != nil {
		return nil, err
	}
	return put(ctx, sock, true, options)
}

// Over is Dial for a bus at the other end of sock, which it takes over. Without
// fds no descriptors are asked for: the other end may believe that it can pass
// them when what lies between cannot.
func Over(ctx context.Context, sock *net.UnixConn, fds bool, options ...dbus.ConnOption) (*dbus.Conn, error) {
	return put(ctx, sock, fds, append([]dbus.ConnOption{dbus.WithContext(ctx)}, options...))
}

// put puts a gate before the bus at the other end of sock.
func put(ctx context.Context, sock *net.UnixConn, fds bool, options []dbus.ConnOption) (*dbus.Conn, error) {
	bus := newStream(sock)
	guid, passesFDs, err := authenticate(ctx, bus, fds)
	if err != nil {
		bus.close()
		return nil, fmt.Errorf("cannot authenticate: %w", err)
	}
	conn, client, err := connectBehind(options)
	if err != nil {
		bus.close()
		return nil, fmt.Errorf("cannot put a gate before the bus: %w", err)
	}
	relay(bus, newStream(client)) // both are its own from now on
	if err := welcome(client, guid, passesFDs); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot put a gate before the bus: %w", err)
	}
	return conn, nil
}

// connectBehind has godbus connect to a socket of ours and returns both ends.
// godbus passes descriptors only over a socket that it has dialled itself.
func connectBehind(options []dbus.ConnOption) (*dbus.Conn, *net.UnixConn, error) {
	// The kernel chooses the name of a socket without one.
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	conn, err := dbus.Dial("unix:abstract="+listener.Addr().String()[1:], options...)
	if err != nil {
		return nil, nil, err
	}
	for {
		client, err := listener.AcceptUnix()
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		if isOurs(client) {
			return conn, client, nil
		}
		client.Close() // somebody else has found the name
	}
}

// isOurs reports whether this process has connected to conn's other end.
func isOurs(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ours := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ours = err == nil && int(cred.Pid) == os.Getpid()
	})
	return err == nil && ours
}
