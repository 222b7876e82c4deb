package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus/gate"
	"github.com/machd/machd/pkg/child"
	"github.com/machd/machd/pkg/socket"
)

// A Bridge is a program that has a bus at its standard input and output, as
// systemd-stdio-bridge has, here or on the other side of ssh.
type Bridge struct {
	Args []string // the program and its arguments
	// Stderr is where what the program says is shown. If it is nil, the error
	// has that.
	Stderr *os.File
	// PassesFDs says that descriptors get through, so nothing but sockets of
	// this host lies between us and the bus.
	PassesFDs bool
}

// A BridgeError says that a bridge's program has ended, instead of leading to a
// bus.
type BridgeError struct {
	Program string
	Status  int    // its exit status, -1 if it was killed
	Said    string // its last words, unless they were shown
}

func (e *BridgeError) Error() string {
	text := fmt.Sprintf("%s ended with exit status %d", e.Program, e.Status)
	if e.Status < 0 {
		text = e.Program + " was killed"
	}
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// DialBridge is Dial for the bus that a bridge leads to. The program is a child
// of this process, in its process group, so that it may ask on the terminal for
// what it needs. It ends with the connection, and end, which must be called
// when that is closed, returns when it has.
func DialBridge(ctx context.Context, bridge Bridge) (conn *dbus.Conn, end func(), err error) {
	ours, theirs, err := socket.Pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	cmd, said := exec.Command(bridge.Args[0], bridge.Args[1:]...), &child.Words{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, said
	if bridge.Stderr != nil {
		cmd.Stderr = bridge.Stderr
	}
	program, err := child.Start(cmd, unix.SIGTERM)
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("cannot start %s: %w", bridge.Args[0], err)
	}
	conn, err = DialOver(ctx, ours, bridge.PassesFDs)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { conn.Close(); program.End() })
		return conn, sync.OnceFunc(func() { stop(); conn.Close(); program.End() }), nil
	}
	if ctx.Err() == nil && program.EndsByItself() {
		err = failure(bridge.Args[0], program.Wait(), said.String(), err)
	}
	// One that waits for somebody's answer does not look at its socket.
	program.Signal(unix.SIGTERM)
	program.End()
	return nil, nil, err
}

// failure is how a program ended, which tells more than that its socket was
// closed.
func failure(name string, ended error, said string, err error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit):
		return &BridgeError{name, exit.ExitCode(), said}
	case said != "":
		return &BridgeError{name, 0, said}
	}
	return fmt.Errorf("%s leads to no bus: %w", name, err)
}

// DialOver is Dial for the bus at the other end of a socket, which it takes
// over.
func DialOver(ctx context.Context, sock *net.UnixConn, passesFDs bool) (*dbus.Conn, error) {
	conn, err := gate.Over(ctx, sock, passesFDs, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, err
	}
	if err := enter(conn); err != nil {
		return nil, err
	}
	return conn, nil
}
