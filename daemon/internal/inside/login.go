package inside

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// sessionLimit is how long a machine has to open a terminal and to begin
// something on it. Somebody sits there and waits.
const sessionLimit = 5 * time.Second

// StartLogin opens a terminal of the machine called name and has its service
// manager start a login prompt there. It does not wait for the prompt.
//
// Reference: machine-dbus.c, bus_machine_method_open_login.
func (g *Guard) StartLogin(ctx context.Context, leader *proc.PIDFD, name string) (*PTY, error) {
	if g.takesErrand(leader) {
		return g.terminalBy(ctx, leader, errand{Do: doStartLogin, Machine: name})
	}
	return g.onTerminal(ctx, leader, name, func(ctx context.Context, p *PTY, m serviceManager) (bool, error) {
		return false, m.call(ctx, "StartUnit", fmt.Sprintf("container-getty@%d.service", p.N), "replace")
	})
}

// StartShell opens a terminal of the machine called name and has its service
// manager run s there. It does not wait for the program, unless the machine's
// files let doubt that there is one: see doubtful.
//
// Reference: machine-dbus.c, bus_machine_method_open_shell.
func (g *Guard) StartShell(ctx context.Context, leader *proc.PIDFD, name string, s Shell) (*PTY, error) {
	s, err := s.Normalize()
	if err != nil {
		return nil, err
	}
	if g.takesErrand(leader) {
		return g.terminalBy(ctx, leader, errand{Do: doStartShell, Machine: name, Shell: s})
	}
	return g.onTerminal(ctx, leader, name, func(ctx context.Context, p *PTY, m serviceManager) (bool, error) {
		peer, err := p.Peer()
		if err != nil {
			return false, err
		}
		defer peer.Close()
		u := shellUnit{s, name, p, dbus.UnixFD(peer.Fd())}
		if g.doubtful(ctx, leader, s) {
			return u.startAndSee(ctx, g, m)
		}
		return false, u.start(ctx, m)
	})
}

// onTerminal opens a terminal and has start use it; the terminal is closed
// again if that fails. The bus comes first, so that a machine without one is
// asked for nothing else. start reports whether it has taken over the connection
// to the service manager, which it must not with an error.
func (g *Guard) onTerminal(ctx context.Context, leader *proc.PIDFD, name string,
	start func(context.Context, *PTY, serviceManager) (keepsManager bool, err error)) (*PTY, error) {
	deadline := time.Now().Add(sessionLimit)
	m, err := g.dialManager(ctx, leader, deadline)
	if errors.Is(err, errNoBus) {
		return nil, machine1.Errorf(machine1.ErrFileNotFound, "There is no system bus in container %s.", name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the system bus of %s: %w", name, err)
	}
	keepsManager := false
	defer func() {
		if !keepsManager {
			m.Close()
		}
	}()
	looking, cancel := context.WithDeadlineCause(ctx, deadline, errHangs)
	defer cancel()
	p, err := g.OpenPTY(looking, leader)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithDeadlineCause(ctx, deadline, errSilentManager)
	defer cancel()
	if keepsManager, err = start(ctx, p, m); err != nil {
		p.Close()
		return nil, fromManager(ctx, name, err)
	}
	return p, nil
}

var errSilentManager = fmt.Errorf("its service manager does not answer: %w", machine1.ErrTimeout)

// fromManager leaves what the service manager itself says as it is.
func fromManager(ctx context.Context, name string, err error) error {
	var remote *machine1.RemoteError
	switch {
	case errors.As(err, &remote) && isNobody(remote):
		return machine1.Errorf(machine1.ErrFileNotFound,
			"There is no service manager on the system bus of container %s.", name)
	case errors.As(err, &remote), errors.Is(err, errNotStarted):
		return err
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("cannot start a unit in %s: %w", name, err)
}

// isNobody reports whether a bus says that nobody has the name that was called:
// the machine has another init, or its systemd has not come to the bus yet.
func isNobody(err *machine1.RemoteError) bool {
	return errors.Is(err, machine1.ErrServiceUnknown) || strings.HasPrefix(err.Name, "org.freedesktop.DBus.Error.Spawn.")
}
