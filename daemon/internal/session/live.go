// Package session is what a command that runs in a machine and its caller say to
// each other: the command lives as long as the caller keeps his end of a socket,
// and its outcome goes there. It must not know machines, nor how a command gets
// into one.
package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// Running is a command, in whatever way it got into its machine.
type Running interface {
	Unit() string
	// Wait returns how it ended. If ctx ends first, it is lost.
	Wait(ctx context.Context) machd.Outcome
	Signal(ctx context.Context, signal int) error
	// Stop ends it and all that it has started; Wait tells when.
	Stop(ctx context.Context) error
	Close() error
}

// Never returns a command that was not run, for the reason of o.
func Never(o machd.Outcome) Running { return never{o} }

type never struct{ outcome machd.Outcome }

func (n never) Wait(context.Context) machd.Outcome { return n.outcome }
func (never) Unit() string                         { return "" }
func (never) Signal(context.Context, int) error    { return nil }
func (never) Stop(context.Context) error           { return nil }
func (never) Close() error                         { return nil }

const (
	// stopLimit is how long a command that is ended may take: a call, the
	// moment that it has to end itself, and the news of it.
	stopLimit = 10 * time.Second
	// leaveLimit is the same when the daemon itself is to end.
	leaveLimit = 3 * time.Second
)

// Serve passes orders and the outcome of r on, between it and the caller's
// socket, and closes both. The command ends with the caller, and with over. It
// reports whether the command has ended.
func Serve(over context.Context, socket *net.UnixConn, r Running, log *slog.Logger) bool {
	l := live{socket, r, log}
	defer r.Close()
	waiting, cancel := context.WithCancelCause(context.WithoutCancel(over))
	defer cancel(nil)
	outcome := make(chan machd.Outcome, 1)
	go func() { outcome <- r.Wait(waiting) }()

	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		l.obey(waiting)
	}()
	defer func() {
		socket.Close()
		<-hungUp
	}()
	select {
	case o := <-outcome:
		l.tell(o)
		if o.Failure == machd.FailureLost {
			// It may be only we who have lost it.
			outcome <- o
			return l.stop(outcome, cancel, stopLimit)
		}
		return true
	case <-hungUp:
		return l.stop(outcome, cancel, stopLimit)
	case <-over.Done():
		l.tell(machd.Outcome{Failure: machd.FailureLost, Message: "The machine manager has ended, and the command with it"})
		return l.stop(outcome, cancel, leaveLimit)
	}
}

// A live session is one whose command runs.
type live struct {
	socket  *net.UnixConn
	running Running
	log     *slog.Logger
}

// obey passes orders on until the caller hangs up.
func (l live) obey(ctx context.Context) {
	packet := make([]byte, machd.MaxPacket)
	for {
		n, err := l.socket.Read(packet)
		if err != nil || n == 0 {
			return
		}
		order, err := machd.ParseOrder(packet[:n])
		if err == nil {
			err = l.running.Signal(ctx, order.Signal)
		}
		if err != nil {
			l.log.Debug("An order to a command failed.", "unit", l.running.Unit(), "error", err)
		}
	}
}

func (l live) tell(o machd.Outcome) {
	// Who does not take it has gone.
	_ = l.socket.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = l.socket.Write(o.Encode())
}

var errGivenUp = errors.New("it did not end when it was to")

// stop ends the command and reports whether it has ended.
func (l live) stop(outcome <-chan machd.Outcome, cancel context.CancelCauseFunc, limit time.Duration) bool {
	ctx, done := context.WithTimeout(context.Background(), limit)
	defer done()
	if err := l.running.Stop(ctx); err != nil {
		l.log.Warn("Cannot end a command in a machine.", "unit", l.running.Unit(), "error", err)
	}
	select {
	case <-outcome:
		return true
	case <-ctx.Done():
		cancel(errGivenUp)
		<-outcome
		return false
	}
}
