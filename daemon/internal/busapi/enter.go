package busapi

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

func terminate(ctx context.Context, c *vtable.Call, o machineObject) error {
	m, err := o.ask(ctx, c, access.Terminate, nil)
	if err != nil {
		return err
	}
	return o.api.machines.Terminate(ctx, m.Name)
}

func kill(ctx context.Context, c *vtable.Call, o machineObject, whom string, signal int32) error {
	if err := machine.CheckKill(whom, signal); err != nil {
		return err
	}
	m, err := o.ask(ctx, c, access.Kill, nil)
	if err != nil {
		return err
	}
	return o.api.machines.Kill(ctx, m.Name, whom, signal)
}

func getAddresses(ctx context.Context, _ *vtable.Call, o machineObject) ([]machine1.Address, error) {
	leader, err := enter(*o.machine, "Requesting IP address data is only supported on container machines.")
	if err != nil {
		return nil, err
	}
	return netns.Addresses(ctx, leader, o.machine.Name)
}

func getSSHInfo(_ context.Context, _ *vtable.Call, o machineObject) (address, key string, err error) {
	m := o.machine
	if m.SSHAddress == "" || m.SSHPrivateKeyPath == "" {
		return "", "", machine1.Errorf(machine1.ErrFileNotFound, "Machine %s has no SSH information", m.Name)
	}
	return m.SSHAddress, m.SSHPrivateKeyPath, nil
}

func getOSRelease(ctx context.Context, c *vtable.Call, o machineObject) (map[string]string, error) {
	m, err := o.ask(ctx, c, access.OSRelease, nil)
	if err != nil {
		return nil, err
	}
	leader, err := enter(m, "Requesting OS release data is only supported on container machines.")
	if err != nil {
		return nil, err
	}
	return o.api.inside.OSRelease(ctx, leader)
}

func getUIDShift(_ context.Context, _ *vtable.Call, o machineObject) (uint32, error) {
	leader, err := enter(*o.machine, "Requesting UID/GID shift is only supported on container machines.")
	if err != nil || leader == nil {
		return 0, err
	}
	shift, err := leader.UIDShift()
	if errors.Is(err, proc.ErrComplexMapping) {
		return 0, machine1.Errorf(machine1.ErrNotSupported,
			"Machine %s uses a complex UID/GID mapping, cannot determine shift", o.machine.Name)
	}
	return shift, err
}

func openPTY(ctx context.Context, c *vtable.Call, o machineObject) (dbus.UnixFD, string, error) {
	m, err := o.ask(ctx, c, access.OpenPTY, nil)
	if err != nil {
		return -1, "", err
	}
	leader, err := enter(m, "Opening pseudo TTYs is only supported on container machines.")
	if err != nil {
		return -1, "", err
	}
	return handOut(o.api.inside.OpenPTY(ctx, leader))
}

func openLogin(ctx context.Context, c *vtable.Call, o machineObject) (dbus.UnixFD, string, error) {
	m, err := o.ask(ctx, c, access.Login, nil)
	if err != nil {
		return -1, "", err
	}
	leader, err := enter(m, "Opening logins is only supported on container machines.")
	if err != nil {
		return -1, "", err
	}
	if err := access.MayOpen(m); err != nil {
		return -1, "", err
	}
	return handOut(o.api.inside.StartLogin(ctx, leader, m.Name))
}

func openShell(ctx context.Context, c *vtable.Call, o machineObject, user, path string, args, environment []string) (dbus.UnixFD, string, error) {
	shell, err := inside.Shell{User: user, Path: path, Args: args, Environment: environment}.Normalize()
	if err != nil {
		return -1, "", err
	}
	m, err := o.ask(ctx, c, access.Shell, map[string]string{
		"user":         shell.User,
		"program":      shell.Path,
		"command_line": strings.Join(shell.Args, " "),
	})
	if err != nil {
		return -1, "", err
	}
	leader, err := enter(m, "Opening shells is only supported on container machines.")
	if err != nil {
		return -1, "", err
	}
	if err := access.MayOpen(m); err != nil {
		return -1, "", err
	}
	return handOut(o.api.inside.StartShell(ctx, leader, m.Name, shell))
}

func openRootDirectory(ctx context.Context, c *vtable.Call, o machineObject) (dbus.UnixFD, error) {
	m, err := o.ask(ctx, c, access.OpenRoot, nil)
	if err != nil {
		return -1, err
	}
	leader, err := enter(m, "Opening the root directory is only supported on container machines.")
	if err != nil {
		return -1, err
	}
	root, err := o.api.inside.OpenRoot(ctx, leader)
	if err != nil {
		return -1, err
	}
	return dupFD(root)
}

// enter returns the process whose namespaces are those of m, nil for the host.
// A VM has none: the error then carries refusal.
func enter(m machine.Machine, refusal string) (*proc.PIDFD, error) {
	switch m.Class {
	case machine1.ClassHost:
		return nil, nil
	case machine1.ClassContainer:
		if m.Leader == nil {
			return nil, machine1.Errorf(unix.EINVAL, "Machine %s has no leader process", m.Name)
		}
		return m.Leader, nil
	default:
		return nil, machine1.Errorf(machine1.ErrNotSupported, "%s", refusal)
	}
}

// handOut gives the master to the reply, which owns it from then on.
func handOut(pty *inside.PTY, err error) (dbus.UnixFD, string, error) {
	if err != nil {
		return -1, "", err
	}
	fd, err := dupFD(pty.Master)
	if err != nil {
		return -1, "", err
	}
	return fd, pty.Path, nil
}

// dupFD returns f's descriptor as one that outlives f, and closes f.
func dupFD(f *os.File) (dbus.UnixFD, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(orig uintptr) {
		fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return -1, err
	}
	return dbus.UnixFD(fd), dupErr
}
