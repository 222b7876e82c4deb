package launch

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vmcontrol"
	"github.com/machd/machd/pkg/machd"
)

// cutGrace is how long what is left of a machine whose leader was killed has to
// end by itself, if nothing of it is known to have to clean up.
const cutGrace = 3 * time.Second

// Terminate ends m without asking its init, and returns once it has gone for
// good, as Stop does. It returns what ended it: machd.StopUnit, or machd.StopKill
// if that was not enough, so that something of it may be left.
func (l *Launcher) Terminate(ctx context.Context, m machine.Machine, o machd.TerminateOptions) (how string, err error) {
	e, err := l.ending(ctx, m, machd.StopOptions{Timeout: o.Timeout})
	if err != nil {
		return "", err
	}
	if m.Leader != nil {
		l.cfg.Machines.Terminating(m)
		if m.Supervisor == nil || !isNspawn(m.Supervisor) {
			e.grace.unit = cmp.Or(o.Timeout, cutGrace)
		}
	}
	return e.runForGood(ctx, []step{
		{machd.StopUnit, e.grace.unit, e.cut},
		{machd.StopKill, killGrace, e.kill},
	})
}

// TerminateUnregistered is Terminate for a machine that is not listed at the
// moment.
func (l *Launcher) TerminateUnregistered(ctx context.Context, name string, o machd.TerminateOptions) (how string, err error) {
	m, err := l.unregistered(ctx, name)
	if err != nil {
		return "", err
	}
	return l.Terminate(ctx, m, o)
}

// cut kills the machine's leader, and with that all of a container. What runs
// the machine lives on, so that it removes what it has made, such as locks, and
// has no init to wait for; it is told to end after that, as it would ask the init
// first. A virtual machine is turned off, if that can be done.
func (e *ending) cut(ctx context.Context, n int) (again time.Duration, last bool) {
	now, there := e.now()
	again = deafPause
	if n > maxTerminate {
		again = repeatAfter
	}
	if socket := vmcontrol.Socket(now); there && n == 0 && socket != "" {
		e.note("turn off", vmcontrol.Quit(ctx, socket))
		again = repeatAfter
	} else if there && now.Leader != nil {
		e.note("kill the leader", now.Leader.Signal(unix.SIGKILL))
	}
	if n == 0 && e.carrier != "" {
		e.stop(ctx)
	} else {
		e.terminate(ctx)
	}
	return again, false
}
