package varlinkapi

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// What Open puts on the terminal.
const (
	modeTTY   = "tty" // nothing
	modeLogin = "login"
	modeShell = "shell"
)

var openMode = varlink.Enum("MachineOpenMode", modeTTY, modeLogin, modeShell)

type openAnswer struct {
	FD   int    `json:"ptyFileDescriptor"`
	Path string `json:"ptyPath"`
}

// open asks polkit with the details of the D-Bus methods, which call the
// machine "machine" and not "name".
//
// Reference: machine-varlink.c, vl_method_open.
func open(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	mode := c.In.String("mode")
	rule, details := access.OpenPTY, map[string]string{"machine": m.Name}
	var shell inside.Shell
	switch mode {
	case modeLogin:
		rule = access.Login
	case modeShell:
		rule = access.Shell
		if shell, err = shellOf(c.In); err != nil {
			return nil, err
		}
		details["verb"] = "shell"
		details["user"] = shell.User
		details["program"] = shell.Path
		details["command_line"] = strings.Join(shell.Args, " ")
	}
	if m, err = a.authorize(ctx, c, m, rule, details); err != nil {
		return nil, err
	}
	if err := access.MayOpen(m); err != nil {
		return nil, err
	}
	leader, err := enter(m)
	if err != nil {
		return nil, err
	}
	pty, err := a.openTerminal(ctx, m, leader, mode, shell)
	if err != nil {
		return nil, err
	}
	defer pty.Close()
	fd, err := send(c, pty.Master)
	return openAnswer{fd, pty.Path}, err
}

func (a *API) openTerminal(ctx context.Context, m machine.Machine, leader *proc.PIDFD, mode string, shell inside.Shell) (*inside.PTY, error) {
	var pty *inside.PTY
	var err error
	switch mode {
	case modeLogin:
		pty, err = a.Inside.StartLogin(ctx, leader, m.Name)
	case modeShell:
		pty, err = a.Inside.StartShell(ctx, leader, m.Name, shell)
	default:
		return a.Inside.OpenPTY(ctx, leader)
	}
	if errors.Is(err, machine1.ErrFileNotFound) {
		return nil, errNoIPC
	}
	return pty, err
}

// shellOf is the program that the caller wants, complete.
func shellOf(in varlink.Object) (inside.Shell, error) {
	return inside.Shell{
		User:        in.String("user"),
		Path:        in.String("path"),
		Args:        in.Strings("args"),
		Environment: inside.LastOfEach(in.Strings("environment")),
	}.Normalize()
}

// isUserName accepts what can be a user's name, however odd, and no number.
//
// Reference: json-util.c, json_dispatch_user_group_name, relaxed.
func isUserName(v any) bool {
	name := v.(string)
	if strings.Trim(name, "0123456789") == "" {
		return false
	}
	_, err := inside.Shell{User: name}.Normalize()
	return err == nil
}

func isEnvironment(v any) bool {
	var list []string
	for _, assignment := range v.([]any) {
		list = append(list, assignment.(string))
	}
	_, err := inside.Shell{Environment: inside.LastOfEach(list)}.Normalize()
	return err == nil
}

// enter returns the process whose namespaces are those of m, nil for the host.
func enter(m machine.Machine) (*proc.PIDFD, error) {
	switch {
	case m.Class == machine1.ClassHost:
		return nil, nil
	case m.Class != machine1.ClassContainer:
		return nil, errNotSupported
	case m.Leader == nil:
		return nil, machine1.Errorf(unix.EINVAL, "Machine %s has no leader process", m.Name)
	}
	return m.Leader, nil
}

type rootAnswer struct {
	FD int `json:"fileDescriptor"`
}

// Reference: machine-varlink.c, vl_method_open_root_directory.
func openRootDirectory(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.manage(ctx, c, access.OpenRoot)
	if err != nil {
		return nil, err
	}
	leader, err := enter(m)
	if err != nil {
		return nil, err
	}
	root, err := a.Inside.OpenRoot(ctx, leader)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd, err := send(c, root)
	return rootAnswer{fd}, err
}

// send passes f along with the answer, and returns its index there.
func send(c *varlink.Call, f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup, dupErr := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return -1, err
	}
	return c.SendFD(dup), nil
}
