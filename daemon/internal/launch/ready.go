package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Guests tells how far a machine has come; *inside.Guard does.
type Guests interface {
	Boot(ctx context.Context, leader *proc.PIDFD) (inside.Boot, error)
	AwaitState(ctx context.Context, leader *proc.PIDFD, enough func(state string) bool) error
}

// ReadyLimit is how long a machine may take until it can be used, unless
// somebody knows better.
const ReadyLimit = 90 * time.Second

const (
	// initLimit is how long after its registration a machine's systemd has to
	// take orders; what has not by then is another init. Systemd needs 0.4 s.
	initLimit = 5 * time.Second
	// bootLimit is how long after its registration a machine is waited for to
	// finish booting. Later it will do that anybody can log in.
	bootLimit = 10 * time.Second

	// noBusLimit is how long after its registration a machine's systemd has to
	// come to the point where there is no bus.
	noBusLimit = 30 * time.Second

	lookPause, lastLookPause = 10 * time.Millisecond, 200 * time.Millisecond
)

// Ready waits until m can be used and returns machd.StateReady, or
// machd.StateDegraded if not all of it works. The note says what a person should
// know of that, and is "" if there is nothing.
//
// It can be used once its service manager is on its bus and has finished
// booting, and at once if it runs a program and no init. Of an init that is not
// systemd, and of what goes on in a VM, nothing is known but that it runs.
//
// The error is machine1.ErrNoSuchMachine if m ends first, and
// machine1.ErrTimeout if ctx does by its deadline; it says what was missing.
func (l *Launcher) Ready(ctx context.Context, m machine.Machine) (state, note string, err error) {
	if m.Class == machine1.ClassHost {
		return machd.StateReady, "", nil
	}
	if m.Class != machine1.ClassContainer || m.Leader == nil {
		return machd.StateReady, "it runs; whether its system is up is not known from outside", nil
	}
	ctx, stop := l.whileThere(ctx, m)
	defer stop()
	w := waiting{guests: l.cfg.Guests, m: m, lacks: "its init has not been started"}
	for pause := lookPause; ; pause = min(pause+pause/10, lastLookPause) {
		if state, note := w.look(ctx); state != "" {
			return state, note, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", "", w.failure(ctx)
		}
	}
}

// Wait is Ready with a limit of its own.
func (l *Launcher) Wait(ctx context.Context, m machine.Machine, o machd.WaitOptions) (state, note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, ReadyLimit))
	defer cancel()
	return l.Ready(ctx, m)
}

// WaitUnregistered is Wait for a machine that is only being started, and so is
// not listed yet. It fails as the start does if that is ours.
func (l *Launcher) WaitUnregistered(ctx context.Context, name string, o machd.WaitOptions) (state, note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, ReadyLimit))
	defer cancel()
	l.starts.mu.Lock()
	s := l.starts.byName[name]
	l.starts.mu.Unlock()
	var r Result
	if s != nil {
		r, err = s.await(ctx, machd.WaitReady)
	} else {
		r, err = l.readyOnceListed(ctx, name)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(err, machine1.ErrTimeout) {
		err = machine1.Errorf(machine1.ErrTimeout, "Machine '%s' is not ready in time: it is still being started", name)
	}
	return r.State, r.Note, err
}

// readyOnceListed waits until a machine is listed that somebody else has PID 1
// start, and can be used.
func (l *Launcher) readyOnceListed(ctx context.Context, name string) (r Result, err error) {
	changed, forget := l.watches.add(append(carriers(name), name)...)
	defer forget()
	for begun := false; ; begun = true {
		if m, ok := l.cfg.Machines.View().Get(name); ok {
			r.State, r.Note, err = l.Ready(ctx, m)
			return r, err
		}
		_, err := l.unregistered(ctx, name)
		if begun && errors.Is(err, machine1.ErrNoSuchMachine) {
			err = machine1.Errorf(machine1.ErrNoSuchMachine, "Machine '%s' ended before it was ready", name)
		}
		if err != nil {
			return r, err
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// errEnded is why nobody waits any longer.
var errEnded = errors.New("the machine ended")

// whileThere returns a context that ends with ctx, and with m for the cause
// errEnded.
func (l *Launcher) whileThere(ctx context.Context, m machine.Machine) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changed, forget := l.watches.add(m.Name)
	go func() {
		defer forget()
		for l.isThere(m) {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
		cancel(errEnded)
	}()
	return ctx, func() { cancel(nil) }
}

// isThere reports whether m is still listed, and not another one of its name.
func (l *Launcher) isThere(m machine.Machine) bool {
	now, ok := l.cfg.Machines.View().Get(m.Name)
	return ok && now.Leader == m.Leader && now.Monotonic == m.Monotonic
}

// waiting is one wait for one machine.
type waiting struct {
	guests Guests
	m      machine.Machine
	lacks  string // what it was waited for last
}

// nspawn is what the leader of a container runs before it runs an init.
const nspawn = "systemd-nspawn"

// look looks at the machine once, and if a system is booting there, until it
// has. It returns "" if the machine cannot be used yet.
func (w *waiting) look(ctx context.Context) (state, note string) {
	boot, err := w.guests.Boot(ctx, w.m.Leader)
	switch {
	case err != nil:
		w.lacks = "it cannot be looked into: " + err.Error()
		return "", ""
	case boot.Program == nspawn:
		return "", ""
	case boot.Systemd && boot.Bus:
		return w.await(ctx)
	case boot.Systemd:
		return w.withoutBus(boot)
	case !isInit(boot.Program):
		return machd.StateReady, ""
	case age(w.m.Monotonic) > initLimit:
		return machd.StateReady, "its init is not systemd; nothing else is known than that it runs"
	}
	w.lacks = "its init does not answer"
	return "", ""
}

// await waits for the service manager on the bus.
func (w *waiting) await(ctx context.Context) (state, note string) {
	w.lacks = "its system bus does not answer"
	err := w.guests.AwaitState(ctx, w.m.Leader, func(system string) bool {
		state, note = w.judge(ctx, system)
		return state != ""
	})
	if errors.Is(err, unix.EPERM) {
		return w.unasked(ctx)
	}
	return state, note
}

// judge says what the state of a service manager means.
func (w *waiting) judge(ctx context.Context, system string) (state, note string) {
	switch system {
	case "running":
		return machd.StateReady, ""
	case "degraded":
		return machd.StateDegraded, "some of its units failed"
	case "maintenance":
		return machd.StateDegraded, "it is in rescue or emergency mode"
	case "":
		w.lacks = "its service manager has not come to its bus"
		return "", ""
	}
	w.lacks = fmt.Sprintf("its system is %q", system)
	if system != "starting" || age(w.m.Monotonic) <= bootLimit {
		return "", ""
	}
	if boot, err := w.guests.Boot(ctx, w.m.Leader); err != nil || boot.NoLogin {
		return "", ""
	}
	return machd.StateReady, "it is still starting some of its units"
}

// withoutBus is about a systemd that has no bus, for now or for good. Nobody
// can be asked then: it takes calls by its own socket from nobody outside.
func (w *waiting) withoutBus(boot inside.Boot) (state, note string) {
	w.lacks = "its system bus is not there"
	if boot.NoLogin || !boot.Users && age(w.m.Monotonic) <= noBusLimit {
		return "", ""
	}
	return machd.StateReady, "it has no system bus, so there are no logins and shells"
}

// unasked is about a machine that an ordinary user's daemon may not talk to, as
// it has ids of its own.
func (w *waiting) unasked(ctx context.Context) (state, note string) {
	w.lacks = "nobody can log in yet"
	if boot, err := w.guests.Boot(ctx, w.m.Leader); err != nil || boot.NoLogin {
		return "", ""
	}
	return machd.StateReady, "its service manager cannot be asked; its bus is up"
}

// isInit reports whether a leader that runs program is an init.
func isInit(program string) bool { return program == "init" || program == "systemd" }

// age is how long ago a time of CLOCK_MONOTONIC was, which is in µs.
func age(since uint64) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano()) - time.Duration(since)*time.Microsecond
}

// failure says why the machine is not waited for any longer.
func (w *waiting) failure(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errEnded):
		return machine1.Errorf(machine1.ErrNoSuchMachine, "Machine '%s' ended before it was ready", w.m.Name)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return machine1.Errorf(machine1.ErrTimeout, "Machine '%s' is not ready in time: %s", w.m.Name, w.lacks)
	}
	return cause
}
