package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// An ExecCommand is what to run in a machine, and with what.
type ExecCommand struct {
	// Args are a program and its arguments. A program without a slash is
	// looked for in the machine. No Args, with Login, are the user's shell.
	Args []string
	User string   // a name or a number, of the machine; "" is root
	Dir  string   // absolute, in the machine; "" is the user's home
	Env  []string // NAME=VALUE, added to what the machine sets

	// Terminal asks for a new terminal of the machine, of so many rows and
	// columns. The files are not used then.
	Terminal      bool
	Rows, Columns uint16
	// Login asks for a session of its own, as a login has it.
	Login bool

	// The files go to the machine as they are, nobody copies; nil is
	// /dev/null. Do not give a machine that you do not trust a terminal: who
	// has it reads what is typed there, later too.
	Stdin, Stdout, Stderr *os.File
}

// An Execution is a command that runs in a machine. It belongs to the caller
// alone, and ends with him: when he closes it, or is killed.
type Execution struct {
	Terminal *os.File // the master, not blocking, or nil
	Unit     string   // in which it runs, in the machine; "" if the machine has no units

	session  *os.File
	outcome  *machd.Outcome // nil until it is known
	toTheEnd bool           // there is more to wait for than the outcome: the session's end
}

// Exec runs a command in a machine and returns when that has begun, or has
// failed to: then Wait says how. It takes machd; systemd-machined is
// ErrNotSupported. A daemon that ends has not begun it if it says so: then the one
// that follows is asked.
//
// Reference: docs/api.md, Exec.
func (c *Client) Exec(ctx context.Context, name string, command ExecCommand) (*Execution, error) {
	x, err := c.exec(ctx, name, command)
	if err != nil {
		return nil, fmt.Errorf("cannot run a command in %q: %w", name, err)
	}
	return x, nil
}

func (c *Client) exec(ctx context.Context, name string, command ExecCommand) (*Execution, error) {
	stdio, err := command.stdio()
	if err != nil {
		return nil, err
	}
	defer stdio.close()
	args := append([]string{}, command.Args...)
	options := machd.ExecOptions{
		User: command.User, Directory: command.Dir, Environment: command.Env,
		Terminal: command.Terminal, Rows: command.Rows, Columns: command.Columns, Login: command.Login,
	}
	return c.hold(ctx, "Exec", []any{name, args, stdio.fds, options.Variants()})
}

// hold makes a call whose reply is what a command is held by. When nobody waits
// any more for that, the command is ended.
func (c *Client) hold(ctx context.Context, member string, in []any) (*Execution, error) {
	var reply execReply
	method := machd.ManagerInterface + "." + member
	err := repeatOn(ctx, machine1.ErrEnding, func() error {
		return c.take(ctx, method, in, reply.close, &reply.session, &reply.terminal, &reply.unit)
	})
	if err != nil {
		return nil, c.lacking(ctx, err)
	}
	return reply.execution()
}

// An execReply is the daemon's answer. Its descriptors are ours.
type execReply struct {
	session  dbus.UnixFD
	terminal []machd.Descriptor
	unit     string
}

func (r *execReply) descriptors() []int {
	fds := []int{int(r.session)}
	for _, d := range r.terminal {
		fds = append(fds, int(d.FD))
	}
	return fds
}

func (r *execReply) close() {
	for _, fd := range r.descriptors() {
		unix.Close(fd)
	}
}

func (r *execReply) execution() (*Execution, error) {
	for _, fd := range r.descriptors() {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			r.close()
			return nil, fmt.Errorf("cannot use what the machine manager sent: %w", err)
		}
	}
	if len(r.terminal) > 1 {
		r.close()
		return nil, errors.New("the machine manager sent more than one terminal")
	}
	x := &Execution{Unit: r.unit, session: os.NewFile(uintptr(r.session), "session")}
	if len(r.terminal) == 1 {
		x.Terminal = os.NewFile(uintptr(r.terminal[0].FD), "terminal")
	}
	return x, nil
}

// Signal sends a signal to the command. One that has ended gets none, which is
// no error.
func (x *Execution) Signal(s syscall.Signal) error {
	_, err := x.session.Write(machd.Order{Signal: int(s)}.Encode())
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("cannot send the command a signal: %w", err)
	}
	return nil
}

// Wait returns how the command ended. If ctx ends first, the command goes on, and
// may be waited for again: ErrTimeout says that ctx has come to its deadline. Once
// the command has ended, each Wait returns the same; after Close and without that
// it is an os.ErrClosed.
func (x *Execution) Wait(ctx context.Context) (machd.Outcome, error) {
	if x.outcome == nil {
		outcome, err := x.wait(ctx)
		if err != nil {
			return machd.Outcome{}, err
		}
		x.outcome = &outcome
	}
	return *x.outcome, nil
}

func (x *Execution) wait(ctx context.Context) (machd.Outcome, error) {
	_ = x.session.SetReadDeadline(time.Time{})
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = x.session.SetReadDeadline(time.Unix(1, 0))
		close(expired)
	})
	defer func() {
		if !stop() {
			<-expired // or it would end the next Wait
		}
	}()
	packet := make([]byte, machd.MaxPacket)
	n, err := x.session.Read(packet)
	switch {
	case err == nil:
		// It has been told, and counts, though ctx may have ended meanwhile.
	case errors.Is(err, os.ErrClosed):
		return machd.Outcome{}, fmt.Errorf("cannot tell how the command ended: %w", os.ErrClosed)
	case ctx.Err() != nil:
		return machd.Outcome{}, late("the command has not ended", ctx.Err())
	default:
		// The daemon's end closed is the end of the file, or a reset if an
		// order of ours was unread.
		return machd.Outcome{Failure: machd.FailureLost, Message: "the machine manager has ended, and nobody can tell how the command did"}, nil
	}
	outcome, err := machd.ParseOutcome(packet[:n])
	for x.toTheEnd && err == nil && ctx.Err() == nil {
		if n, err := x.session.Read(packet); n == 0 || err != nil {
			break
		}
	}
	return outcome, err
}

// Close ends the command if it still runs.
func (x *Execution) Close() error {
	if x.Terminal != nil {
		x.Terminal.Close()
	}
	return x.session.Close()
}
