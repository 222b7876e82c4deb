// Package execution runs commands in machines for somebody who holds them. It
// chooses the way into a machine by what the machine has, and remembers what a
// daemon that was killed has left running. It must not know who may run what, nor
// how a command gets into a machine.
package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/nsexec"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/session"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// Inside reaches into machines; *inside.Guard does.
type Inside interface {
	OpenPTY(ctx context.Context, leader *proc.PIDFD) (*inside.PTY, error)
	FindProgram(ctx context.Context, leader *proc.PIDFD, name string, c inside.Command) (string, *machd.Outcome, error)
	StartCommand(ctx context.Context, leader *proc.PIDFD, name, unit, program string, c inside.Command) (*inside.Execution, error)
	StopCommand(ctx context.Context, leader *proc.PIDFD, unit string) error
	Account(ctx context.Context, leader *proc.PIDFD, name, user string) (inside.Account, *machd.Outcome, error)
}

// An Enterer runs commands in machines that have no service manager;
// nsexec.Client does.
type Enterer interface {
	Enter(ctx context.Context, e nsexec.Entry) error
}

// Config is what a Set stands on.
type Config struct {
	Inside  Inside
	Enterer Enterer // nil if machines cannot be entered
	Records string  // directory of what the next daemon has to know
	Log     *slog.Logger
}

// A Set is the sessions that go on. It is safe for concurrent use.
type Set struct {
	Config
	records records
	left    []string // records of the daemon before

	limits *session.Limits
	over   context.Context // ends the sessions
	end    context.CancelFunc
}

// New returns a set in which nothing goes on. What is in its directory was left
// there by the daemon before.
func New(cfg Config) *Set {
	over, end := context.WithCancel(context.Background())
	r := records{cfg.Records}
	return &Set{Config: cfg, records: r, left: r.list(), limits: session.NewLimits(), over: over, end: end}
}

// Run ends what a daemon before has left behind, and once ctx ends, what goes
// on then: nobody would hear of it any more.
func (s *Set) Run(ctx context.Context) error {
	s.sweep(ctx)
	<-ctx.Done()
	s.limits.Close()
	s.end()
	s.limits.Wait()
	return nil
}

// A Request is a command that somebody wants to have run.
type Request struct {
	Caller  uint32 // his user
	Machine machine.Machine
	Command inside.Command // from Normalize, without streams
	Stdio   []*os.File     // none or three; they stay the caller's
	// Terminal says that the command gets a new terminal instead.
	Terminal      bool
	Rows, Columns uint16 // of it; zero is not known
}

// Started is what the caller gets. The files are his.
type Started struct {
	Socket   *os.File // his end of the session's
	Terminal *os.File // the master, nil if he wants none
	Unit     string   // of the command in the machine, "" if it has none
}

// Close closes the files, which ends the command.
func (s Started) Close() {
	s.Socket.Close()
	if s.Terminal != nil {
		s.Terminal.Close()
	}
}

// Start begins a session. Once it has, the socket tells all: also that there is
// no such program.
func (s *Set) Start(ctx context.Context, r Request) (Started, error) {
	if err := checkStreams(r); err != nil {
		return Started{}, err
	}
	leader, err := enter(r.Machine)
	if err != nil {
		return Started{}, err
	}
	release, err := s.limits.Admit(r.Caller)
	if err != nil {
		return Started{}, err
	}
	t := &trial{set: s, request: r, release: release}
	defer t.close()
	if leader != nil {
		// The registry closes its own with the machine.
		if t.leader, err = leader.Dup(); err != nil {
			return Started{}, err
		}
	}
	if overSSH(r.Machine) {
		return t.startSSH(ctx)
	}
	if r.Machine.Service == nsexec.Nspawn {
		if err := nsexec.AwaitSetup(ctx, t.leader); err != nil {
			return Started{}, err
		}
	}
	return t.start(ctx)
}

// enter returns the process whose namespaces are those of m, nil for the host and
// for what is reached by ssh.
func enter(m machine.Machine) (*proc.PIDFD, error) {
	switch {
	case m.Class == machine1.ClassHost:
		return nil, nil
	case m.Class != machine1.ClassContainer && m.SSHAddress == "":
		return nil, machine1.Errorf(machine1.ErrNotSupported,
			"Machine %s is a virtual machine, whose commands only its own system can run, and it was registered without a way in by ssh", m.Name)
	case m.Class != machine1.ClassContainer:
		return nil, nil
	case m.Leader == nil:
		return nil, machine1.Errorf(unix.EINVAL, "Machine %s has no leader process", m.Name)
	}
	return m.Leader, nil
}

func checkStreams(r Request) error {
	if len(r.Stdio) != 0 && len(r.Stdio) != 3 {
		return machine1.Errorf(machine1.ErrInvalidArgs, "A command has three streams, and not %d", len(r.Stdio))
	}
	if r.Terminal && len(r.Stdio) != 0 {
		return machine1.Errorf(machine1.ErrInvalidArgs, "A command has either a terminal or streams of the caller's")
	}
	for _, f := range r.Stdio {
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("cannot look at a stream: %w", err)
		}
		if info.IsDir() {
			return machine1.Errorf(machine1.ErrInvalidArgs, "A directory is no stream, and would lead out of the machine")
		}
	}
	return nil
}

// A trial is a session that has not begun yet. What it holds at its end is
// closed.
type trial struct {
	set     *Set
	request Request
	leader  *proc.PIDFD // ours; nil for the host
	release func()

	terminal *inside.PTY
	streams  []*os.File // ours
	begun    bool       // the leader and the release are the session's
}

func (t *trial) close() {
	for _, f := range t.streams {
		f.Close()
	}
	if t.terminal != nil {
		t.terminal.Close()
	}
	if !t.begun {
		t.leader.Close()
		t.release()
	}
}

func (t *trial) start(ctx context.Context) (Started, error) {
	command := t.request.Command
	in, name := t.set.Inside, t.request.Machine.Name
	program, failed, err := in.FindProgram(ctx, t.leader, name, command)
	if err != nil {
		return Started{}, err
	}
	if err := t.openStreams(ctx, &command); err != nil {
		return Started{}, err
	}
	ours, theirs, err := session.Pair()
	if err != nil {
		return Started{}, err
	}
	defer ours.Close() // whoever goes on with it has his own
	unit := ""
	if failed != nil {
		err = t.begin(ours, session.Never(*failed), nothing)
	} else {
		unit, err = t.run(ctx, ours, program, command)
	}
	if err != nil {
		theirs.Close()
		return Started{}, err
	}
	started := t.started(theirs)
	started.Unit = unit
	return started, nil
}

// run has the command run in one way or the other.
func (t *trial) run(ctx context.Context, ours *os.File, program string, command inside.Command) (unit string, err error) {
	unit = inside.NewExecUnit()
	forget, err := t.set.records.add(t.leader, unit)
	if err != nil {
		return "", err
	}
	e, err := t.set.Inside.StartCommand(ctx, t.leader, t.request.Machine.Name, unit, program, command)
	if err == nil {
		return unit, t.begin(ours, e, forget)
	}
	forget()
	if errors.Is(err, inside.ErrNoManager) && t.leader != nil {
		return "", t.enter(ctx, ours, program, command)
	}
	return "", err
}

// overSSH reports whether the way into m is its ssh.
func overSSH(m machine.Machine) bool {
	return m.Class == machine1.ClassVM && m.SSHAddress != ""
}

// startSSH has the command run by the ssh of the host.
func (t *trial) startSSH(ctx context.Context) (Started, error) {
	m := t.request.Machine
	switch {
	case t.set.Enterer == nil:
		return Started{}, machine1.Errorf(machine1.ErrNotSupported, "Only the system's machd runs commands in virtual machines")
	case m.UID != 0 || strings.HasPrefix(m.SSHAddress, "-"):
		// Where root's ssh connects to is not for others to say.
		return Started{}, machine1.Errorf(machine1.ErrAccessDenied,
			"Machine %s was registered by user %d: commands are run by ssh only in virtual machines that root has registered", m.Name, m.UID)
	}
	command := t.request.Command
	if err := t.openStreams(ctx, &command); err != nil {
		return Started{}, err
	}
	ours, theirs, err := session.Pair()
	if err != nil {
		return Started{}, err
	}
	defer ours.Close()
	err = t.set.Enterer.Enter(ctx, nsexec.Entry{
		Machine: m.Name, Caller: t.request.Caller, Command: command, Socket: ours,
		SSH: nsexec.SSH{Address: m.SSHAddress, Key: m.SSHPrivateKeyPath},
	})
	if err != nil {
		theirs.Close()
		return Started{}, err
	}
	return t.started(theirs), nil
}

// started hands out what the caller gets.
func (t *trial) started(socket *os.File) Started {
	s := Started{Socket: socket}
	if t.terminal != nil {
		s.Terminal, t.terminal = t.terminal.Master, nil
	}
	return s
}

// enter has the command run by another process, which holds it from then on.
func (t *trial) enter(ctx context.Context, ours *os.File, program string, command inside.Command) error {
	m := t.request.Machine
	switch {
	case t.set.Enterer == nil:
		return machine1.Errorf(machine1.ErrNotSupported,
			"There is no service manager on the system bus of machine %s, and only the system's machd runs commands without one", m.Name)
	case t.request.Caller != 0 && t.request.Caller == m.UID:
		// Who may register a process of his own would get more than it has.
		return machine1.Errorf(machine1.ErrAccessDenied,
			"Only root runs commands in machine %s: it has no service manager that could, and without one they miss the machine's system call filter", m.Name)
	}
	account, failed, err := t.set.Inside.Account(ctx, t.leader, m.Name, command.User)
	switch {
	case err != nil:
		return err
	case failed != nil:
		return t.begin(ours, session.Never(*failed), nothing)
	}
	return t.set.Enterer.Enter(ctx, nsexec.Entry{
		Machine: m.Name, Caller: t.request.Caller, Leader: t.leader,
		Program: program, Command: command, Account: account, Socket: ours,
	})
}

// openStreams gives command what it reads and writes.
func (t *trial) openStreams(ctx context.Context, command *inside.Command) error {
	switch {
	case t.request.Terminal:
		pty, err := t.set.Inside.OpenPTY(ctx, t.leader)
		if err != nil {
			return err
		}
		t.terminal, command.Terminal = pty, pty
		if err := t.setSize(pty.Master); err != nil {
			return err
		}
		peer, err := pty.Peer()
		if err != nil {
			return err
		}
		t.streams = append(t.streams, peer)
		command.Stdio = [3]*os.File{peer, peer, peer}
	case len(t.request.Stdio) == 3:
		command.Stdio = [3]*os.File(t.request.Stdio)
	default:
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		t.streams = append(t.streams, null)
		command.Stdio = [3]*os.File{null, null, null}
	}
	return nil
}

// setSize gives the terminal its size before the command can ask for it.
func (t *trial) setSize(master *os.File) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Row: t.request.Rows, Col: t.request.Columns}
	controlErr := raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("cannot set the terminal's size: %w", err)
	}
	return nil
}

// begin hands what t holds over to the session, which goes on without us.
func (t *trial) begin(ours *os.File, r session.Running, forget func()) error {
	conn, err := socket.Conn(ours)
	if err != nil {
		r.Close()
		return err
	}
	t.begun = true
	go func() {
		defer t.release()
		defer t.leader.Close()
		if session.Serve(t.set.over, conn, r, t.set.Log) {
			forget()
		}
	}()
	return nil
}

func nothing() {}
