// Package session is the commands that run in machines for somebody who holds
// them: each lives as long as its caller keeps his end of a socket, and its
// outcome goes there. It chooses the way into a machine by what the machine has.
// It must not know who may run what, nor how a command gets into a machine.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// maxOfUser bounds what one user runs at a time, root apart.
	maxOfUser = 64
	// maxAll bounds what all run at a time. A session is a few descriptors and
	// goroutines.
	maxAll = 4096
)

// Inside reaches into machines; *inside.Guard does.
type Inside interface {
	OpenPTY(ctx context.Context, leader *proc.PIDFD) (*inside.PTY, error)
	FindProgram(ctx context.Context, leader *proc.PIDFD, name string, c inside.Command) (string, *machd.Outcome, error)
	StartCommand(ctx context.Context, leader *proc.PIDFD, name, unit, program string, c inside.Command) (*inside.Execution, error)
	StopCommand(ctx context.Context, leader *proc.PIDFD, unit string) error
}

// Config is what a Set stands on.
type Config struct {
	Inside  Inside
	Records string // directory of what the next daemon has to know
	Log     *slog.Logger
}

// A Set is the sessions that go on. It is safe for concurrent use.
type Set struct {
	Config
	records records
	left    []string // records of the daemon before

	mu      sync.Mutex
	ended   bool           // no more begin
	count   int            // of sessions
	ofUser  map[uint32]int // of them
	running sync.WaitGroup
	over    context.Context // ends the sessions
	end     context.CancelFunc
}

// New returns a set in which nothing goes on. What is in its directory was left
// there by the daemon before.
func New(cfg Config) *Set {
	over, end := context.WithCancel(context.Background())
	r := records{cfg.Records}
	return &Set{Config: cfg, records: r, left: r.list(), ofUser: map[uint32]int{}, over: over, end: end}
}

// Run ends what a daemon before has left behind, and once ctx ends, what goes
// on then: nobody would hear of it any more.
func (s *Set) Run(ctx context.Context) error {
	s.sweep(ctx)
	<-ctx.Done()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	return nil
}

// A Request is a command that somebody wants to have run.
type Request struct {
	Caller  uint32 // his user
	Machine machine.Machine
	Command inside.Command // from Normalize, without streams
	Stdio   []*os.File     // none or three; they stay the caller's
	// Terminal says that the command gets a new terminal instead.
	Terminal bool
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
	release, err := s.admit(r.Caller)
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
	return t.start(ctx)
}

// admit counts a session in until release is called.
func (s *Set) admit(user uint32) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return nil, machine1.Errorf(machine1.ErrDisconnected, "The machine manager is about to end.")
	case s.count >= maxAll, user != 0 && s.ofUser[user] >= maxOfUser:
		return nil, machine1.Errorf(machine1.ErrLimitsExceeded, "Too many commands of user %d run already.", user)
	}
	s.count++
	s.ofUser[user]++
	s.running.Add(1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count--
		if s.ofUser[user]--; s.ofUser[user] == 0 {
			delete(s.ofUser, user)
		}
		s.running.Done()
	}), nil
}

// enter returns the process whose namespaces are those of m, nil for the host.
func enter(m machine.Machine) (*proc.PIDFD, error) {
	switch {
	case m.Class == machine1.ClassHost:
		return nil, nil
	case m.Class != machine1.ClassContainer:
		return nil, machine1.Errorf(machine1.ErrNotSupported, "Running commands is only supported on container machines.")
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
	begun    bool
}

func (t *trial) close() {
	for _, f := range t.streams {
		f.Close()
	}
	if t.begun {
		return
	}
	if t.terminal != nil {
		t.terminal.Close()
	}
	t.leader.Close()
	t.release()
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
	ours, theirs, err := socketPair()
	if err != nil {
		return Started{}, err
	}
	started := Started{Socket: theirs}
	if t.terminal != nil {
		started.Terminal = t.terminal.Master
	}
	if failed != nil {
		t.begin(ours, never{*failed}, nothing)
		return started, nil
	}
	running, forget, err := t.run(ctx, program, command)
	if err != nil {
		ours.Close()
		theirs.Close()
		return Started{}, err
	}
	started.Unit = running.Unit()
	t.begin(ours, running, forget)
	return started, nil
}

// run has the command run in one way or the other.
func (t *trial) run(ctx context.Context, program string, command inside.Command) (running, func(), error) {
	unit := inside.NewExecUnit()
	forget, err := t.set.records.add(t.leader, unit)
	if err != nil {
		return nil, nil, err
	}
	e, err := t.set.Inside.StartCommand(ctx, t.leader, t.request.Machine.Name, unit, program, command)
	if err == nil {
		return e, forget, nil
	}
	forget()
	if errors.Is(err, inside.ErrNoManager) {
		return nil, nil, machine1.Errorf(machine1.ErrNotSupported,
			"There is no service manager on the system bus of container %s.", t.request.Machine.Name)
	}
	return nil, nil, err
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

// begin hands what t holds over to the session, which goes on without us.
func (t *trial) begin(socket *net.UnixConn, r running, forget func()) {
	t.begun = true
	l := live{socket: socket, running: r, log: t.set.Log}
	go func() {
		defer t.release()
		defer t.leader.Close()
		if l.serve(t.set.over) {
			forget()
		}
	}()
}

func nothing() {}

// socketPair returns the two ends of a session's socket; theirs goes to the
// caller.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	first := os.NewFile(uintptr(pair[0]), "session")
	theirs = os.NewFile(uintptr(pair[1]), "session")
	defer first.Close() // net.FileConn makes its own
	conn, err := net.FileConn(first)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("cannot use a socket: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}
