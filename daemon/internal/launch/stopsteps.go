package launch

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vmcontrol"
	"github.com/machd/machd/pkg/machine1"
)

// signalPowerOff asks systemd, as an init, for an orderly power-off:
// SIGRTMIN+4 of the C library, whose SIGRTMIN is 34.
const signalPowerOff = unix.Signal(38)

// powerOff asks the machine's init to shut down, that of a virtual machine by its
// firmware. An init that does not handle the signal would lose it, and another
// program would end by it at once, so it goes only where it is waited for.
func (e *ending) powerOff(ctx context.Context, n int) (again time.Duration, last bool) {
	if e.unit.ComesBack && n == 0 && !e.restarting {
		// PID 1 lets nothing come back that it is to stop. A stop would take the
		// place of the job that restarts it.
		e.stop(ctx)
	}
	now, there := e.now()
	if !there {
		return repeatAfter, e.m.Leader == nil && !e.isEnding(ctx)
	}
	if socket := vmcontrol.Socket(now); socket != "" {
		err := vmcontrol.PressPowerButton(ctx, socket)
		e.note("press the power button", err)
		return repeatAfter, err != nil
	}
	heard, err := now.Leader.Heard()
	switch {
	case err != nil:
		e.deadLooks++
		return deafPause, e.deadLooks > patientLooks
	case heard.Has(signalPowerOff):
		e.heard = true
		e.note("power off", now.Leader.Signal(signalPowerOff))
		return repeatAfter, false
	case e.isYoung(now.Leader, now.Monotonic):
		return lookPause, false
	}
	return 0, true
}

// patientLooks is how often a leader that is dead is looked at: its machine goes
// in a moment, or has other processes. How often it was looked at before does not
// count.
const patientLooks = 10

// isEnding reports whether the unit is on its way down by itself.
func (e *ending) isEnding(ctx context.Context) bool {
	state, err := e.l.cfg.Units.ActiveState(ctx, e.carrier)
	return err == nil && state == "deactivating"
}

// isYoung reports whether the leader may be an init that is about to handle
// signals.
func (e *ending) isYoung(leader *proc.PIDFD, since uint64) bool {
	program, err := leader.Comm()
	return err == nil && age(since) < initLimit && (program == nspawn || isInit(program))
}

// stopUnit has PID 1 stop the unit, if it is the machine's. What runs the
// machine gets SIGTERM by that, tells the init, and waits for it as well; by the
// second one it ends the machine.
//
// PID 1 may not get to it: while machine@.service is being stopped, the unit's
// turn comes after that. So the signals are sent in any case.
func (e *ending) stopUnit(ctx context.Context, n int) (again time.Duration, last bool) {
	if n == 0 && e.carrier != "" {
		if !e.restarting {
			e.stop(ctx)
		}
		if !e.heard && e.hearsAnything() {
			return e.grace.unit / 2, false // it may know the signal that it gets now
		}
		return deafPause, false
	}
	e.terminate(ctx)
	if n < maxTerminate {
		return deafPause, false
	}
	return 0, false
}

// maxTerminate is how often SIGTERM is sent.
const maxTerminate = 3

func (e *ending) stop(ctx context.Context) {
	if e.unit.RefusesStop {
		e.note("have the unit stopped", e.stopByConflict(ctx))
		return
	}
	_, err := e.l.cfg.Units.Stop(ctx, e.carrier, "replace")
	e.note("stop the unit", err)
}

// stopByConflict has PID 1 stop a unit that refuses to be stopped: it does that
// for another unit that cannot be there at the same time.
func (e *ending) stopByConflict(ctx context.Context) error {
	name := "machd-end-" + machine1.EscapeUnit(e.m.Name) + ".service"
	_, err := e.l.cfg.Units.StartTransient(ctx, name, "replace", []machine1.Property{
		{Name: "Description", Value: dbus.MakeVariant("End of machine " + e.m.Name)},
		{Name: "Conflicts", Value: dbus.MakeVariant([]string{e.carrier})},
		{Name: "CollectMode", Value: dbus.MakeVariant("inactive-or-failed")},
		{Name: "Type", Value: dbus.MakeVariant("oneshot")},
		{Name: "ExecStartEx", Value: dbus.MakeVariant([]command{{"/bin/true", []string{"true"}, []string{}}})},
	})
	return err
}

// hearsAnything reports whether the init handles any signal by which one may
// ask an init to shut down.
func (e *ending) hearsAnything() bool {
	now, there := e.now()
	if !there {
		return false
	}
	heard, err := now.Leader.Heard()
	return err == nil && asksAny(heard)
}

// asksAny reports whether any of the signals may ask an init to shut down. Those
// for job control do not, of which the init of busybox handles one.
func asksAny(heard proc.Signals) bool {
	const faults = 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGILL-1) | 1<<(unix.SIGFPE-1) |
		1<<(unix.SIGABRT-1) | 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGPIPE-1) | 1<<(unix.SIGALRM-1) | 1<<(unix.SIGWINCH-1)
	const jobs = 1<<(unix.SIGTSTP-1) | 1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1) | 1<<(unix.SIGCONT-1)
	return heard&^(faults|jobs) != 0
}

// terminate sends SIGTERM to what runs the machine.
func (e *ending) terminate(ctx context.Context) {
	now, there := e.now()
	switch {
	case !there && e.m.Leader != nil:
		// What ran it cleans up, and may need its time.
	case strings.HasSuffix(e.carrier, ".service"):
		e.note("terminate the unit", e.l.cfg.Units.Kill(ctx, e.carrier, "main", int32(unix.SIGTERM)))
	case !there:
	case now.Supervisor != nil && isNspawn(now.Supervisor):
		e.note("terminate the supervisor", now.Supervisor.Signal(unix.SIGTERM))
	case e.carrier == "" && now.Leader != nil:
		e.note("terminate the leader", now.Leader.Signal(unix.SIGTERM))
	}
}

// isNspawn reports whether the process runs one machine and nothing else. Any
// other supervisor may be a daemon that runs all of them.
func isNspawn(p *proc.PIDFD) bool {
	program, err := p.Comm()
	return err == nil && (program == nspawn || program == "systemd-vmspawn")
}

// kill ends what is the machine's at once.
func (e *ending) kill(ctx context.Context, _ int) (again time.Duration, last bool) {
	now, there := e.now()
	switch {
	case e.carrier != "":
		e.note("kill the unit", e.l.cfg.Units.Kill(ctx, e.carrier, "all", int32(unix.SIGKILL)))
	case there && now.Leader != nil:
		e.note("kill the leader", now.Leader.Signal(unix.SIGKILL))
	}
	return repeatAfter, false
}

// note keeps what did not work for the log. Whether the machine has gone tells
// whether it mattered.
func (e *ending) note(what string, err error) {
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, machine1.ErrNoSuchUnit) {
		e.l.cfg.Log.Debug("A step to end a machine did not work.", "machine", e.m.Name, "step", what, "error", err)
	}
}
