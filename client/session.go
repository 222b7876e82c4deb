package client

import (
	"context"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A Session is the host's end of a terminal in a machine. It is the caller's:
// neither the daemon's end nor the bus's ends it.
type Session struct {
	Terminal *os.File // the master, open for reading and writing, not blocking
	Path     string   // of the terminal inside the machine, such as /dev/pts/3
}

// Close hangs up: who runs on the terminal gets SIGHUP.
func (s *Session) Close() error { return s.Terminal.Close() }

// OpenPTY opens a new terminal in the machine that nothing runs on.
func (c *Client) OpenPTY(ctx context.Context, name string) (*Session, error) {
	return c.open(ctx, "OpenMachinePTY", name)
}

// OpenLogin opens a new terminal in the machine with a login prompt on it,
// which comes back after each logout. The machine needs systemd and a system
// bus; ErrFileNotFound says that there is no bus.
func (c *Client) OpenLogin(ctx context.Context, name string) (*Session, error) {
	return c.open(ctx, "OpenMachineLogin", name)
}

// A Command is what to run in a shell session.
type Command struct {
	User string   // "" is root
	Path string   // absolute; "" is the user's login shell
	Args []string // with the program's name as the first one; nil is the path alone
	Env  []string // VAR=VALUE, added to what a login sets
}

// OpenShell opens a new terminal in the machine and runs a command on it. The
// terminal hangs up when the command ends. What it needs is as for OpenLogin.
func (c *Client) OpenShell(ctx context.Context, name string, command Command) (*Session, error) {
	args := append([]string{}, command.Args...)
	env := append([]string{}, command.Env...)
	return c.open(ctx, "OpenMachineShell", name, command.User, command.Path, args, env)
}

func (c *Client) open(ctx context.Context, member, name string, more ...any) (*Session, error) {
	var fd dbus.UnixFD
	var path string
	if err := c.tell(ctx, member, append([]any{name}, more...), &fd, &path); err != nil {
		return nil, fmt.Errorf("cannot open a terminal in %q: %w", name, err)
	}
	unix.CloseOnExec(int(fd))
	if err := unix.SetNonblock(int(fd), true); err != nil {
		unix.Close(int(fd))
		return nil, fmt.Errorf("cannot use the terminal of %q: %w", name, err)
	}
	return &Session{Terminal: os.NewFile(uintptr(fd), path), Path: path}, nil
}
