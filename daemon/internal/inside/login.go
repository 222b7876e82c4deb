package inside

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// manager is the service manager at any system bus.
var manager = bus.Target{Name: "org.freedesktop.systemd1", Path: "/org/freedesktop/systemd1"}

const managerInterface = "org.freedesktop.systemd1.Manager"

// StartLogin opens a terminal of the machine called name and has its service
// manager start a login prompt there. It does not wait for the prompt.
//
// Reference: machine-dbus.c, bus_machine_method_open_login.
func (g *Guard) StartLogin(ctx context.Context, leader *proc.PIDFD, name string) (*PTY, error) {
	return g.onTerminal(ctx, leader, name, func(ctx context.Context, p *PTY, call caller) error {
		return call(ctx, "StartUnit", fmt.Sprintf("container-getty@%d.service", p.N), "replace")
	})
}

// StartShell opens a terminal of the machine called name and has its service
// manager run s there. It does not wait for the program.
//
// Reference: machine-dbus.c, bus_machine_method_open_shell.
func (g *Guard) StartShell(ctx context.Context, leader *proc.PIDFD, name string, s Shell) (*PTY, error) {
	s, err := s.Normalize()
	if err != nil {
		return nil, err
	}
	return g.onTerminal(ctx, leader, name, func(ctx context.Context, p *PTY, call caller) error {
		peer, err := p.Peer()
		if err != nil {
			return err
		}
		defer peer.Close()
		unit := fmt.Sprintf("container-shell@%d.service", p.N)
		return call(ctx, "StartTransientUnit", unit, "fail",
			s.properties(p, dbus.UnixFD(peer.Fd())), []auxiliaryUnit{})
	})
}

// A caller calls a method of a service manager.
type caller func(ctx context.Context, member string, args ...any) error

// onTerminal opens a terminal and has start use it; the terminal is closed
// again if that fails. The bus comes first, so that a machine without one is
// asked for nothing else.
func (g *Guard) onTerminal(ctx context.Context, leader *proc.PIDFD, name string,
	start func(context.Context, *PTY, caller) error) (*PTY, error) {
	call, hangUp, err := g.serviceManager(ctx, leader)
	if errors.Is(err, errNoBus) {
		return nil, machine1.Errorf(machine1.ErrFileNotFound, "There is no system bus in container %s.", name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the system bus of %s: %w", name, err)
	}
	defer hangUp()
	p, err := g.OpenPTY(ctx, leader)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSilentManager)
	defer cancel()
	if err := start(ctx, p, call); err != nil {
		p.Close()
		return nil, fromManager(ctx, name, err)
	}
	return p, nil
}

var errSilentManager = fmt.Errorf("no answer: %w", machine1.ErrTimeout)

// fromManager leaves what the service manager itself says as it is.
func fromManager(ctx context.Context, name string, err error) error {
	var remote *machine1.RemoteError
	if errors.As(err, &remote) {
		return err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("cannot start a unit in %s: %w", name, err)
}

// serviceManager connects to the service manager of the machine, or to that of
// the host.
func (g *Guard) serviceManager(ctx context.Context, leader *proc.PIDFD) (call caller, hangUp func() error, err error) {
	if leader != nil {
		p, err := g.dialBus(ctx, leader)
		if err != nil {
			return nil, nil, err
		}
		return p.call, p.Close, nil
	}
	// Our own bus is not hostile, and its address can be of any form.
	conn, err := bus.Dial(ctx, bus.SystemAddress())
	if err != nil {
		return nil, nil, err
	}
	call = func(ctx context.Context, member string, args ...any) error {
		return bus.Call(ctx, conn, manager, managerInterface+"."+member, false, args)
	}
	return call, conn.Close, nil
}

// An auxiliaryUnit is an element of the last argument of StartTransientUnit,
// which is always empty here.
type auxiliaryUnit struct {
	Name       string
	Properties []machine1.Property
}

// An execCommand is an element of ExecStart, signature (sasb).
type execCommand struct {
	Path          string
	Args          []string
	IgnoreFailure bool
}

// properties returns what the unit of s on terminal p is made of. The service
// manager replaces "$$" and "${NAME}" in the arguments, as it does for
// systemd-machined.
func (s Shell) properties(p *PTY, tty dbus.UnixFD) []machine1.Property {
	property := func(name string, value any) machine1.Property {
		return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	list := []machine1.Property{
		property("Description", "Shell for User "+s.User),
		property("StandardInputFileDescriptor", tty),
		property("StandardOutputFileDescriptor", tty),
		property("StandardErrorFileDescriptor", tty),
		property("SendSIGHUP", true),
		property("IgnoreSIGPIPE", false),
		property("KillMode", "mixed"),
		property("TTYPath", p.Path),
		property("TTYReset", true),
		property("UtmpIdentifier", fmt.Sprintf("pts/%d", p.N)),
		property("UtmpMode", "user"),
		property("PAMName", "login"),
		property("WorkingDirectory", "-~"),
		property("User", s.User),
	}
	if len(s.Environment) > 0 {
		list = append(list, property("Environment", s.Environment))
	}
	return append(list, property("ExecStart", []execCommand{{s.Path, s.Args, true}}))
}
