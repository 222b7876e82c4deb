package launch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/payload"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Terminals makes terminals of the host's; *inside.Guard does.
type Terminals interface {
	OpenPTY(ctx context.Context, leader *proc.PIDFD) (*inside.PTY, error)
}

// leaveGrace is how long a machine may take to end by itself whose caller has
// gone.
const leaveGrace = 5 * time.Second

// A holder is our side of a session: until the unit is being started what goes
// to the unit, and all the time a copy of the machine's end.
type holder struct {
	handed Running // the caller's side
	ours   *os.File
	stdio  []*os.File // for the unit; three or none
	tty    *os.File   // the other end of the caller's terminal, or nil
}

func (l *Launcher) newHolder(ctx context.Context, stdio []*os.File, terminal bool) (_ *holder, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a session: %w", err)
	}
	_ = unix.SetNonblock(pair[1], true) // only ours: what others get they expect to block
	h := &holder{ours: os.NewFile(uintptr(pair[1]), "session")}
	h.handed.Session = os.NewFile(uintptr(pair[0]), "session")
	defer func() {
		if err != nil {
			h.handed.Close()
			h.close()
		}
	}()
	if terminal {
		return h, h.openTerminal(ctx, l.cfg.Terminals)
	}
	for _, f := range stdio {
		fd, err := unix.FcntlInt(uintptr(descriptorOf(f)), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("cannot keep a stream: %w", err)
		}
		h.stdio = append(h.stdio, os.NewFile(uintptr(fd), "stream"))
	}
	return h, nil
}

// openTerminal keeps the other end open: a terminal that nobody has open, as
// between two programs of the unit's, would seem to have ended.
func (h *holder) openTerminal(ctx context.Context, terminals Terminals) error {
	pty, err := terminals.OpenPTY(ctx, nil)
	if err != nil {
		return err
	}
	h.handed.Terminal = pty.Master
	h.tty, err = pty.Peer()
	return err
}

func (h *holder) close() {
	closeAll(h.stdio...)
	closeAll(h.tty, h.ours)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// rebootStatus is what systemd-nspawn ends with if the machine wants to be
// started again.
const rebootStatus = 133

var streams = []string{"StandardInput", "StandardOutput", "StandardError"}

// dress has the unit use what h has for it, and a machine that boots no init
// tell how its command ends.
func (h *holder) dress(plan *Plan, p properties, line *commandLine, program string) {
	delete(p, "RestartForceExitStatus") // it is run once
	// Its own words would be on the caller's files or terminal.
	if !slices.ContainsFunc(p.strings("Environment"), func(e string) bool { return strings.HasPrefix(e, "SYSTEMD_LOG_LEVEL=") }) {
		p.add("Environment", "SYSTEMD_LOG_LEVEL=err")
	}
	console := "pipe"
	if plan.Boots {
		console = "read-only" // an init takes the end of its input for trouble
	}
	for i, stream := range streams {
		if h.tty != nil {
			p.set(stream, "tty")
			continue
		}
		delete(p, stream)
		p.set(stream+"FileDescriptor", descriptorOf(h.stdio[i]))
	}
	if h.tty != nil {
		console = "interactive"
		p.set("TTYPath", h.tty.Name())
	}
	line.remove(func(a argument) bool { return a.name == "console" || a.name == "pipe" || a.name == "as-pid2" })
	line.options = append(line.options, option("console", console))
	if plan.Boots {
		return
	}
	line.options = append(line.options, option("bind-ro", program+":"+payload.Path))
	line.payload = payload.Command(line.payload)
	type descriptor struct {
		FD   dbus.UnixFD
		Name string
	}
	p.set("ExtraFileDescriptors", []descriptor{{descriptorOf(h.ours), "session"}})
}

// descriptorOf returns f's descriptor as it is: Fd would have it block, and with
// it what the caller reads or writes.
func descriptorOf(f *os.File) (fd dbus.UnixFD) {
	fd = -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(number uintptr) { fd = dbus.UnixFD(number) })
	}
	return fd
}

// keep ends the machine with its caller, and tells him how it ended if nobody
// else has. It returns when nothing is left of the machine.
func (h *holder) keep(ctx context.Context, s *start) {
	defer h.close()
	<-s.ended
	if s.err != nil && !isClosed(s.queued) {
		return // which the caller was told of
	}
	closeAll(h.stdio...) // the unit has them
	h.stdio = nil
	var holding sync.WaitGroup
	running, over := context.WithCancel(ctx)
	holding.Go(func() { s.endWithCaller(running) })
	_, err := s.l.awaitOver(ctx, s.plan.Unit, math.MaxInt64)
	over()
	holding.Wait()
	if err != nil {
		return // this daemon ends
	}
	outcome := s.outcome(ctx)
	s.letGo(ctx)
	s.l.awaitGone(ctx, s.name, s.plan.Unit)
	s.l.awaitForgotten(ctx, s.plan.Unit)
	s.l.removeExport(s.name)
	_, _ = h.ours.Write(outcome.Encode())
}

// awaitForgotten waits until PID 1 knows a unit no longer that is over and that
// nobody holds.
func (l *Launcher) awaitForgotten(ctx context.Context, unit string) {
	changed, stop := l.watches.add(unit)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, goneLimit)
	defer cancel()
	for {
		if _, err := l.cfg.Units.ActiveState(ctx, unit); errors.Is(err, machine1.ErrNoSuchUnit) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// endWithCaller ends the unit when its caller has gone, or if there is nobody
// inside whom he could tell, when he asks for it. It returns when ctx ends.
func (s *start) endWithCaller(ctx context.Context) {
	ours := s.holder.ours
	defer context.AfterFunc(ctx, func() { _ = ours.SetReadDeadline(time.Unix(1, 0)) })()
	raw, err := ours.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return hungUp(fd, s.plan.Boots) })
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// Nobody would be told that he has gone.
		s.l.cfg.Log.Warn("The caller of a machine is lost.", "machine", s.name, "error", err)
	}
	if !s.plan.Boots {
		// The first process inside has seen it, too.
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaveGrace):
		}
	}
	if err := s.l.stopUnit(ctx, s.plan.Unit); err != nil && ctx.Err() == nil {
		s.l.cfg.Log.Warn("Cannot end a machine whose caller has gone.", "machine", s.name, "unit", s.plan.Unit, "error", err)
	}
}

// hungUp reports whether the other end is closed, or if asked for, has sent an
// order.
func hungUp(fd uintptr, orders bool) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if orders {
		poll[0].Events |= unix.POLLIN
	}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents != 0
}

// outcome is how the machine ended as far as its unit knows.
func (s *start) outcome(ctx context.Context) machd.Outcome {
	if s.err != nil {
		return machd.Outcome{Failure: machd.FailureRefused, Message: s.err.Error()}
	}
	run, err := s.l.cfg.Units.LastRun(ctx, s.plan.Unit)
	registered := isClosed(s.registered)
	if err == nil && registered && s.plan.Boots && run.ExitCode != 0 {
		status := int(run.ExitStatus)
		if status == rebootStatus { // once is enough
			status = 0
		}
		if run.ExitCode != cldExited {
			return machd.Outcome{Signal: status}
		}
		return machd.Outcome{Exit: &status}
	}
	if err == nil && registered && run.Result == "success" {
		// He was told by the first process inside, or has gone.
		return machd.Outcome{Failure: machd.FailureLost, Message: s.plan.Unit + " ended without telling how its command did"}
	}
	o := machd.Outcome{Failure: machd.FailureRefused, Message: s.explain(ctx, &overError{run}).Error()}
	if registered {
		o.Failure = machd.FailureLost
	}
	return o
}
