package client

import (
	"context"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A Session is the host's end of a terminal in a machine. It is the caller's:
// neither the daemon's end nor the bus's ends it.
type Session struct {
	Terminal *os.File // the master, open for reading and writing, not blocking
	Path     string   // of the terminal inside the machine, such as /dev/pts/3
}

// Close hangs up: who runs on the terminal gets SIGHUP.
func (s *Session) Close() error { return s.Terminal.Close() }

// OpenPTY opens a new terminal in the machine that nothing runs on. Of VMs the
// daemons can open none, which is an ErrNotSupported here and below.
//
// Reference: org.freedesktop.machine1(5), OpenMachinePTY.
func (c *Client) OpenPTY(ctx context.Context, name string) (*Session, error) {
	return c.open(ctx, "OpenMachinePTY", name)
}

// OpenLogin opens a new terminal in the machine with a login prompt on it,
// which comes back after each logout. The machine needs systemd and a system
// bus; ErrFileNotFound says that there is no bus. Until the prompt is there, about a
// second, the terminal is hung up and reading says EIO: read again.
//
// Reference: org.freedesktop.machine1(5), OpenMachineLogin.
func (c *Client) OpenLogin(ctx context.Context, name string) (*Session, error) {
	return c.open(ctx, "OpenMachineLogin", name)
}

// A ShellCommand is what to run in a shell session.
type ShellCommand struct {
	User string   // "" is root
	Path string   // absolute; "" is the user's login shell
	Args []string // with the program's name as the first one; nil is the path alone
	Env  []string // VAR=VALUE, added to what a login sets
}

// OpenShell opens a new terminal in the machine and runs a command on it. The
// terminal hangs up when the command ends, and nobody tells with which status:
// see Exec. What it needs is as for OpenLogin.
//
// Reference: org.freedesktop.machine1(5), OpenMachineShell.
func (c *Client) OpenShell(ctx context.Context, name string, command ShellCommand) (*Session, error) {
	args := append([]string{}, command.Args...)
	env := append([]string{}, command.Env...)
	return c.open(ctx, "OpenMachineShell", name, command.User, command.Path, args, env)
}

func (c *Client) open(ctx context.Context, member, name string, more ...any) (*Session, error) {
	var fd dbus.UnixFD
	var path string
	method := machine1.ManagerInterface + "." + member
	if err := c.take(ctx, method, append([]any{name}, more...), func() { unix.Close(int(fd)) }, &fd, &path); err != nil {
		return nil, fmt.Errorf("cannot open a terminal in %q: %w", name, err)
	}
	unix.CloseOnExec(int(fd))
	if err := unix.SetNonblock(int(fd), true); err != nil {
		unix.Close(int(fd))
		return nil, fmt.Errorf("cannot use the terminal of %q: %w", name, err)
	}
	return &Session{Terminal: os.NewFile(uintptr(fd), path), Path: path}, nil
}

// OpenRoot opens the root directory of a running machine, as the machine sees
// it: os.Root and the *at system calls reach its files from there. Whoever has
// it may do there what he may do on the host.
//
// Reference: org.freedesktop.machine1(5), OpenMachineRootDirectory.
func (c *Client) OpenRoot(ctx context.Context, name string) (*os.File, error) {
	var fd dbus.UnixFD
	method := machine1.ManagerInterface + ".OpenMachineRootDirectory"
	if err := c.take(ctx, method, []any{name}, func() { unix.Close(int(fd)) }, &fd); err != nil {
		return nil, fmt.Errorf("cannot open the root directory of %q: %w", name, err)
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), name+":/"), nil
}

// take calls a method whose reply brings descriptors. When ctx ends first, the
// reply is waited for all the same, for discard to close what comes.
func (c *Client) take(ctx context.Context, method string, in []any, discard func(), out ...any) error {
	if !c.conn.SupportsUnixFDs() {
		return errNoDescriptors // before anything is begun there
	}
	lasting := context.WithoutCancel(ctx)
	call, err := bus.Go(lasting, c.conn, machined, method, c.interactive, in)
	if err != nil {
		return err
	}
	taken := make(chan error, 1)
	go func() { taken <- bus.Wait(lasting, call, out...) }()
	select {
	case err = <-taken:
	case <-ctx.Done():
		go func() {
			if <-taken == nil {
				discard()
			}
		}()
		err = ctx.Err()
	}
	return c.explain(ctx, machined.Name, err)
}
