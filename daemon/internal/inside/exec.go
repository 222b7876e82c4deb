package inside

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// ErrNoManager says that a machine has no service manager on a bus of its own:
// it has another init, or none, or is still booting.
var ErrNoManager = errors.New("there is no service manager on the machine's bus")

// A Command is what to run in a machine. Its streams stay the caller's.
type Command struct {
	Args        []string // with the zeroth, which is looked for as a shell does
	User        string   // name or number, looked up inside
	Directory   string   // absolute, inside; the user's home if empty
	Environment []string // NAME=value
	Login       bool     // in a session of its own, as a login has it
	Shell       bool     // the Args are what finds the login shell of the user
	Terminal    *PTY     // nil if it has none
	Stdio       [3]*os.File
}

// Normalize checks c and fills in what is left out: the user is root, the
// command the login shell for a login. Its own result it returns unchanged.
func (c Command) Normalize() (Command, error) {
	shell := Shell{User: c.User, Environment: c.Environment}
	if len(c.Args) > 0 {
		shell.Path = "/" // looked for later
	}
	shell, err := shell.Normalize()
	if err != nil {
		return Command{}, err
	}
	c.User = shell.User
	switch {
	case len(c.Args) == 0 && !c.Login:
		return Command{}, machine1.Errorf(machine1.ErrInvalidArgs, "There is no command to run")
	case len(c.Args) == 0:
		c.Args, c.Shell = append([]string{shell.Path}, shell.Args[1:]...), true
	case c.Args[0] == "":
		return Command{}, machine1.Errorf(machine1.ErrInvalidArgs, "The name of the program is empty")
	}
	for _, text := range append([]string{c.Directory}, c.Args...) {
		if strings.Contains(text, "\x00") {
			return Command{}, machine1.Errorf(machine1.ErrInvalidArgs, "A program cannot be told a NUL byte: %q", text)
		}
	}
	if c.Directory != "" && !strings.HasPrefix(c.Directory, "/") {
		return Command{}, machine1.Errorf(machine1.ErrInvalidArgs, "Specified directory '%s' is not absolute", c.Directory)
	}
	return c, nil
}

// execPrefix is what the names of commands' units begin with.
const execPrefix = "machd-exec-"

// NewExecUnit returns a name that no unit has had.
func NewExecUnit() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return execPrefix + hex.EncodeToString(id[:]) + ".service"
}

// An Execution is a command that a machine's service manager runs. Close ends
// our interest in it, not the command.
type Execution struct {
	guard   *Guard
	leader  *proc.PIDFD // nil for the host
	unit    execUnit
	manager *peer
}

// StartCommand has the service manager of the machine called name run c, which
// Normalize has made, at program, an absolute path inside, as unit. It returns
// once the manager has taken it on, which may be before the program runs. The
// leader must live as long as the Execution.
//
// The error wraps ErrNoManager if there is none, so that the machine has to be
// entered.
func (g *Guard) StartCommand(ctx context.Context, leader *proc.PIDFD, name, unit, program string, c Command) (*Execution, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, time.Now().Add(sessionLimit), errSilentManager)
	defer cancel()
	u := execUnit{c, name, unit, program}
	p, err := g.dialExec(ctx, leader, u.follow()...)
	if err == nil {
		err = u.start(ctx, p)
	}
	if err == nil {
		return &Execution{g, leader, u, p}, nil
	}
	if p != nil {
		p.Close()
	}
	var remote *machine1.RemoteError
	switch {
	case errors.Is(err, errNoBus), errors.As(err, &remote) && isNobody(remote):
		return nil, fmt.Errorf("%w: %w", ErrNoManager, err)
	case remote != nil:
		return nil, err
	}
	return nil, fmt.Errorf("cannot run %q in %s: %w", c.Args[0], name, orGone(leader, err))
}

// dialExec connects to the bus of the machine's service manager, or to the
// host's, and makes more calls.
func (g *Guard) dialExec(ctx context.Context, leader *proc.PIDFD, more ...dbus.Message) (*peer, error) {
	if leader != nil {
		return g.dialBus(ctx, leader, more...)
	}
	conn, err := bus.DialSocket(ctx, bus.SystemAddress())
	if err != nil {
		return nil, err
	}
	return greet(ctx, conn, more)
}

// Unit returns the unit's name.
func (e *Execution) Unit() string { return e.unit.unit }

// Close hangs up.
func (e *Execution) Close() error { return e.manager.Close() }

// Signal sends a signal to the command, and not to what it has started.
func (e *Execution) Signal(ctx context.Context, signal int) error {
	return e.guard.tellManager(ctx, e.leader, "KillUnit", e.unit.unit, "main", int32(signal))
}

// Stop ends the command and all that it has started, at once or after the
// moment that it has to end itself. Wait tells when that has happened.
func (e *Execution) Stop(ctx context.Context) error {
	return e.guard.StopCommand(ctx, e.leader, e.unit.unit)
}

// StopCommand is Stop for a unit of which no more is known than its name. That
// it is not there is no error.
func (g *Guard) StopCommand(ctx context.Context, leader *proc.PIDFD, unit string) error {
	err := g.tellManager(ctx, leader, "StopUnit", unit, "replace")
	if errors.Is(err, machine1.ErrNoSuchUnit) {
		return nil
	}
	return err
}

// tellManager makes one call on a connection of its own.
func (g *Guard) tellManager(ctx context.Context, leader *proc.PIDFD, member string, args ...any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionLimit, errSilentManager)
	defer cancel()
	p, err := g.dialExec(ctx, leader)
	if err != nil {
		return orGone(leader, err)
	}
	defer p.Close()
	return orGone(leader, p.call(ctx, member, args...))
}
