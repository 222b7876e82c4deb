// Package ptyfwd connects this process's terminal with the master of a
// pseudo-terminal: what is typed goes in, what is shown comes out, until the
// other side hangs up or the user leaves by typing ^] three times. It knows
// nothing of machines or buses.
package ptyfwd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is how many bytes are moved at a time.
const chunk = 4096

// leaveTimeout bounds the wait for output that a stopped terminal or a full
// pipe does not take, when the user leaves.
const leaveTimeout = 100 * time.Millisecond

// drainTime is how long what a command wrote may take through the terminal once
// it has ended. A hang-up comes earlier, where nobody else holds it open.
const drainTime = 100 * time.Millisecond

// An Ending says why a session ended.
type Ending int

// The endings.
const (
	HungUp       Ending = iota // nothing runs on the other side any more that counts, and all output is written
	Left                       // the user typed ^] three times
	InputClosed                // our terminal hung up, or a login has no more input
	OutputClosed               // nobody takes the output any more
	Signalled                  // a signal asked us to end
	Canceled                   // the context ended
)

// A Result is how a session ended.
type Result struct {
	Ending  Ending
	Signal  os.Signal // for Signalled
	MidLine bool      // the output did not end with a newline
}

// Options say what to connect and how.
type Options struct {
	Stdin, Stdout *os.File

	// Login is for a terminal that a getty hangs up and opens again for every
	// login: a hang-up ends the session only once Gone is closed.
	Login bool
	Gone  <-chan struct{}

	// Over is for who learns by another way when the command on the terminal
	// has ended: only once it is closed the session ends, by a hang-up or, as
	// others may still have the terminal open, because nothing comes any more.
	Over <-chan struct{}
	// Signal, if not nil, takes the signals that would end the session, and
	// reports whether it goes on.
	Signal func(os.Signal) bool
}

// Run forwards until one side ends. When it returns or panics, the modes of
// our terminal are those of before. The master stays the caller's to close.
func Run(ctx context.Context, master *os.File, o Options) (Result, error) {
	f, err := newForwarder(master, o)
	if err != nil {
		return Result{}, err
	}
	defer f.close()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, wantedSignals()...)
	defer signal.Stop(signals)

	if err := f.screen.raw(); err != nil {
		return Result{}, err
	}
	defer f.screen.restore()
	f.screen.copySize(f.master)

	f.running = 2
	go f.guard(f.forwardInput)
	go f.guard(f.forwardOutput)
	result := f.supervise(ctx, signals)
	f.wake.stop()
	f.settle()
	result.MidLine = f.last.Load() != '\n'
	return result, nil
}

// A forwarder is one session. Its goroutines say through ended how they ended,
// once each, and leave when wake is stopped.
type forwarder struct {
	Options
	in, out int // descriptors of Stdin and Stdout
	master  int // our own descriptor
	screen  *screen
	wake    *waker
	escape  escape

	running  int // goroutines that have not ended, as far as supervise knows
	ended    chan ending
	ignoring atomic.Bool   // a hang-up is no end yet
	draining atomic.Bool   // silence is an end
	last     atomic.Int32  // last byte of the output
	shown    chan struct{} // closed at the first output
	flushed  chan struct{} // holds one if the other side has emptied its queues
	eof      endOfInput
}

// An ending is what a goroutine has to say last.
type ending struct {
	Ending
	goOn     bool // the session goes on without it
	panicked any
}

func newForwarder(master *os.File, o Options) (*forwarder, error) {
	f := &forwarder{Options: o, in: int(o.Stdin.Fd()), out: int(o.Stdout.Fd()), ended: make(chan ending, 2), shown: make(chan struct{}), flushed: make(chan struct{}, 1)}
	f.ignoring.Store(o.Login || o.Over != nil)
	f.last.Store('\n')
	f.screen = newScreen(o.Stdin, o.Stdout)
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use the terminal: %w", err)
	}
	controlErr := raw.Control(func(fd uintptr) { f.master, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if controlErr != nil || err != nil {
		return nil, fmt.Errorf("cannot use the terminal: %w, %w", controlErr, err)
	}
	if err := f.prepare(); err != nil {
		unix.Close(f.master)
		return nil, fmt.Errorf("cannot use the terminal: %w", err)
	}
	return f, nil
}

func (f *forwarder) prepare() error {
	if err := unix.SetNonblock(f.master, true); err != nil {
		return err
	}
	if f.packets() {
		if err := unix.IoctlSetPointerInt(f.master, unix.TIOCPKT, 1); err != nil {
			return err
		}
	}
	wake, err := newWaker(f.master)
	f.wake = wake
	return err
}

// packets reports whether the kernel tells us of what happens on the other
// side: only input that nobody types needs that, see endOfInput.
func (f *forwarder) packets() bool { return f.screen.in == nil }

// guard hands a panic over to the goroutine that restores the terminal.
func (f *forwarder) guard(run func() ending) {
	end := ending{}
	defer func() {
		end.panicked = recover()
		f.ended <- end
	}()
	end = run()
}

// supervise waits for the end of the session.
func (f *forwarder) supervise(ctx context.Context, signals <-chan os.Signal) Result {
	gone, over := f.Gone, f.Over
	var drained <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return Result{Ending: Canceled}
		case <-gone:
			gone = nil
			f.ignoring.Store(false)
			f.wake.nudge()
		case <-over:
			over, drained = nil, time.After(drainTime)
			f.ignoring.Store(false)
			f.wake.nudge()
		case <-drained:
			f.draining.Store(true)
			f.wake.nudge()
		case s := <-signals:
			if !f.handle(s) {
				return Result{Ending: Signalled, Signal: s}
			}
		case end := <-f.ended:
			f.running--
			if end.panicked != nil {
				panic(end.panicked)
			}
			if !end.goOn {
				return Result{Ending: end.Ending}
			}
		}
	}
}

// handle reports whether the session goes on after the signal.
func (f *forwarder) handle(s os.Signal) bool {
	switch s {
	case unix.SIGWINCH:
		f.screen.copySize(f.master)
	case unix.SIGTSTP:
		f.screen.restore()
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	case unix.SIGCONT:
		// Whoever made us continue may have changed modes and size.
		_ = f.screen.raw()
		f.screen.copySize(f.master)
	default:
		return f.Signal != nil && f.Signal(s)
	}
	return true
}

// wantedSignals leaves alone what we were told to ignore, as nohup(1) does.
func wantedSignals() []os.Signal {
	wanted := []os.Signal{unix.SIGWINCH, unix.SIGCONT}
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP} {
		if !signal.Ignored(s) {
			wanted = append(wanted, s)
		}
	}
	return wanted
}

// settle waits until no goroutine uses the terminal, but not for one whose
// output nobody takes.
func (f *forwarder) settle() {
	timeout := time.NewTimer(leaveTimeout)
	defer timeout.Stop()
	for f.running > 0 {
		select {
		case end := <-f.ended:
			f.running--
			if end.panicked != nil {
				panic(end.panicked)
			}
		case <-timeout.C:
			return
		}
	}
}

// close frees the descriptors unless a goroutine still holds on to them.
func (f *forwarder) close() {
	if f.running > 0 {
		return
	}
	f.wake.close()
	unix.Close(f.master)
}
