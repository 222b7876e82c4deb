package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// stopUnits is what ending a machine asks of PID 1.
type stopUnits interface {
	Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	Restart(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error)
	Kill(ctx context.Context, name, whom string, signal int32) error
	ActiveState(ctx context.Context, name string) (string, error)
	IsOver(ctx context.Context, name string) (bool, error)
	Ending(ctx context.Context, name string) (unit.Ending, error)
	Thaw(ctx context.Context, name string) error
}

const (
	// initGrace is how long an init has to shut down, and unitGrace what runs
	// it to end after that, unless somebody knows better. Killing takes no
	// time; what is left killGrace later cannot be killed.
	initGrace = 90 * time.Second
	unitGrace = 15 * time.Second
	killGrace = 15 * time.Second

	// repeatAfter is how long an init has to act before it is asked once more.
	// One that is only just booting may not hear, and one that heard does not
	// mind.
	repeatAfter = time.Second
	// deafPause is how long after a signal comes the next one if nobody will do
	// anything about the first.
	deafPause = 100 * time.Millisecond
)

// Stop ends m and returns once it has gone for good: its unit is down and so is
// what stands for it, and it can be started again. It asks the machine's init first, then has the unit
// stopped, then kills, and returns which of these it was: machd.StopPowerOff
// and so on.
//
// What is ended is what the machine owns: a machine that was only found in
// somebody else's unit ends by signals to its own processes.
func (l *Launcher) Stop(ctx context.Context, m machine.Machine, o machd.StopOptions) (how string, err error) {
	e, err := l.ending(ctx, m, o)
	if err != nil {
		return "", err
	}
	return e.runForGood(ctx, e.orderly())
}

// runForGood returns once the machine and its unit are gone, and what stands for
// the machine.
func (e *ending) runForGood(ctx context.Context, steps []step) (how string, err error) {
	stands := e.l.standsFor(ctx, e.m.Name)
	e.gone = e.goneForGood
	how, err = e.run(ctx, steps)
	if err == nil && stands {
		e.l.awaitDependedDown(ctx, e.m.Name)
	}
	return how, err
}

// StopUnregistered ends the machine called name that is being started or has
// not ended yet, and so is not listed.
func (l *Launcher) StopUnregistered(ctx context.Context, name string, o machd.StopOptions) (how string, err error) {
	m, err := l.unregistered(ctx, name)
	if err != nil {
		return "", err
	}
	return l.Stop(ctx, m, o)
}

// unregistered returns what is known of a machine that is not listed, but may
// be in a moment or was until a moment ago.
func (l *Launcher) unregistered(ctx context.Context, name string) (machine.Machine, error) {
	for _, unit := range carriers(name) {
		over, err := l.cfg.Units.IsOver(ctx, unit)
		switch {
		case err != nil:
			return machine.Machine{}, err
		case !over:
			return machine.Machine{Name: name, Unit: unit, Class: machine1.ClassContainer}, nil
		}
	}
	return machine.Machine{}, machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
}

// carriers returns the units that a machine called name may be started as.
func carriers(name string) []string {
	return []string{
		"machine-" + machine1.EscapeUnit(name) + ".service",
		machine1.ServiceUnit(name),
		"systemd-vmspawn@" + name + ".service",
	}
}

// An ending is the end of one machine, or of one run of it.
type ending struct {
	l          *Launcher
	m          machine.Machine
	carrier    string      // unit that is there for the machine alone, or ""
	unit       unit.Ending // how that is
	restarting bool        // the unit is being stopped already, and starts again
	heard      bool        // the init was asked by a signal that it handles
	deadLooks  int         // at a leader that was dead
	grace      struct{ init, unit time.Duration }
	gone       func(ctx context.Context) (bool, error)
}

func (l *Launcher) ending(ctx context.Context, m machine.Machine, o machd.StopOptions) (*ending, error) {
	if m.Class == machine1.ClassHost {
		return nil, machine1.Errorf(machine1.ErrNotSupported, "The host cannot be stopped as a machine")
	}
	e := &ending{l: l, m: m}
	e.grace.init, e.grace.unit = cmp.Or(o.Timeout, initGrace), cmp.Or(o.Timeout, unitGrace)
	if err := e.findCarrier(ctx); err != nil {
		return nil, err
	}
	if e.unit.RefusesStop && !o.Force {
		return nil, machine.ErrProtected(m.Name)
	}
	if e.unit.Frozen {
		// What is paused hears no signal, and PID 1 refuses to stop it.
		if err := l.cfg.Units.Thaw(ctx, m.Unit); err != nil {
			return nil, fmt.Errorf("cannot have '%s', which is paused, go on so that it ends: %w", m.Name, err)
		}
	}
	return e, nil
}

// findCarrier finds the unit that has to be down before the machine can be
// started again, and that may be ended with it.
//
// From systemd 258 on, nspawn registers its machines in a cgroup below the unit.
// The unit is the machine's all the same if nspawn, its supervisor, is what the
// unit runs. Whoever is not root could name any supervisor of his own.
func (e *ending) findCarrier(ctx context.Context) error {
	below := e.m.Subgroup != "" && e.m.UID == 0 && e.m.Supervisor != nil
	if e.m.Unit == "" || !e.m.OwnsUnit() && !below {
		return nil
	}
	var err error
	e.unit, err = e.l.cfg.Units.Ending(ctx, e.m.Unit)
	if err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		return err
	}
	scope := e.m.Unit == machine1.EscapeUnit(e.m.Name)+".scope" || e.m.Unit == machine1.ScopeName(e.m.Name)
	if e.m.OwnsUnit() || scope || e.unit.MainPID != 0 && int(e.unit.MainPID) == e.m.Supervisor.PID() {
		e.carrier = e.m.Unit
		return nil
	}
	e.unit = unit.Ending{}
	return nil
}

// A step is one way to end a machine. act does it, for the nth time, and says
// when to do it again: never if again is 0. last says that waiting any longer
// is of no use.
type step struct {
	how   string
	grace time.Duration
	act   func(ctx context.Context, n int) (again time.Duration, last bool)
}

// orderly are the steps that begin with the init.
func (e *ending) orderly() []step {
	return []step{
		{machd.StopPowerOff, e.grace.init, e.powerOff},
		{machd.StopUnit, e.grace.unit, e.stopUnit},
		{machd.StopKill, killGrace, e.kill},
	}
}

func (e *ending) run(ctx context.Context, steps []step) (how string, err error) {
	changed, forget := e.l.watches.add(e.m.Name, e.m.Unit)
	defer forget()
	if gone, err := e.gone(ctx); gone || err != nil {
		return machd.StopGone, err
	}
	for _, s := range steps {
		if gone, err := e.try(ctx, s, changed); gone || err != nil {
			return s.how, err
		}
	}
	return "", machine1.Errorf(machine1.ErrTimeout, "Machine '%s' was killed and has not ended; its unit is '%s'", e.m.Name, e.m.Unit)
}

// recheckAfter is how often is looked whether a machine has gone of which nothing
// is heard.
const recheckAfter = time.Second

// try does one step and reports whether the machine has gone by its end.
func (e *ending) try(ctx context.Context, s step, changed <-chan struct{}) (gone bool, err error) {
	over := time.NewTimer(s.grace)
	defer over.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for n := 0; ; {
		pause := time.NewTimer(recheckAfter)
		select {
		case <-next.C:
			again, last := s.act(ctx, n)
			if last {
				pause.Stop()
				return e.gone(ctx)
			}
			if again > 0 {
				next.Reset(again)
			}
			n++
		case <-changed:
		case <-pause.C:
		case <-over.C:
			pause.Stop()
			return e.gone(ctx)
		case <-ctx.Done():
			pause.Stop()
			return false, fmt.Errorf("the end of '%s' is not waited for any longer: %w", e.m.Name, ctx.Err())
		}
		pause.Stop()
		if gone, err := e.gone(ctx); gone || err != nil {
			return gone, err
		}
	}
}

// now returns the machine as it is: after a reboot it is another one, in the
// same unit.
func (e *ending) now() (machine.Machine, bool) {
	now, ok := e.l.cfg.Machines.View().Get(e.m.Name)
	if !ok || e.carrier == "" && now.Leader != e.m.Leader {
		return machine.Machine{}, false
	}
	return now, now.Unit == e.m.Unit
}

// goneForGood reports whether neither the machine is there nor its unit.
func (e *ending) goneForGood(ctx context.Context) (bool, error) {
	if _, there := e.now(); there {
		return false, nil
	}
	if e.carrier == "" {
		return true, nil
	}
	state, err := e.l.cfg.Units.ActiveState(ctx, e.carrier)
	switch {
	case errors.Is(err, machine1.ErrNoSuchUnit):
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return false, nil // PID 1 reloads; look again
	}
	return state == "inactive" || state == "failed", nil
}
