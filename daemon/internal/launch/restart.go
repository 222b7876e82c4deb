package launch

import (
	"context"
	"strings"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// registerLimit is how long a machine may take to register once its unit has
// started.
const registerLimit = 30 * time.Second

// Restart ends m as Stop does, has PID 1 start its unit again, and returns when
// the new machine can be used. Only services can be started again; a scope is
// for whoever made it to make anew.
func (l *Launcher) Restart(ctx context.Context, m machine.Machine, o machd.StopOptions) (Result, error) {
	if m.Class == machine1.ClassHost {
		return Result{}, machine1.Errorf(machine1.ErrNotSupported, "The host cannot be restarted as a machine")
	}
	e, err := l.ending(ctx, m, o)
	if err != nil {
		return Result{}, err
	}
	if !strings.HasSuffix(e.carrier, ".service") {
		return Result{}, machine1.Errorf(machine1.ErrNotSupported,
			"Machine '%s' runs in no service of its own, so only whoever started it can start it again", m.Name)
	}
	if e.unit.RefusesStop {
		return Result{}, machine1.Errorf(machine1.ErrNotSupported,
			"Machine '%s' is protected, and PID 1 refuses to restart its unit; it can be stopped by force and started", m.Name)
	}
	// PID 1 forgets how a unit ended that nobody holds.
	if err := l.cfg.Units.Ref(ctx, m.Unit); err != nil {
		return Result{}, err
	}
	defer l.unref(m.Unit)
	since := time.Now()
	job, err := l.cfg.Units.Restart(ctx, m.Unit, "replace")
	if err != nil {
		return Result{}, err
	}
	e.restarting = true
	e.gone = func(context.Context) (bool, error) { return m.Leader == nil || !l.isThere(m), nil }
	if _, err := e.run(ctx, e.orderly()); err != nil {
		return Result{}, err
	}
	result, err := l.cfg.Units.WaitJob(ctx, job)
	if err != nil {
		return Result{}, err
	}
	if result != "done" {
		return Result{}, l.restartFailure(ctx, m.Unit, result, since)
	}
	return l.restarted(ctx, m)
}

func (l *Launcher) unref(unit string) {
	ctx, cancel := context.WithTimeout(context.Background(), explainLimit)
	defer cancel()
	_ = l.cfg.Units.Unref(ctx, unit)
}

// restartFailure says how a unit failed to start again.
func (l *Launcher) restartFailure(ctx context.Context, unit, job string, since time.Time) error {
	f := &Failure{Unit: unit, Job: job}
	if run, err := l.cfg.Units.LastRun(ctx, unit); err == nil {
		f.Run = run
	}
	f.Log = lastLines(ctx, unit, f.Run, since)
	return f
}

// RestartUnregistered is Restart for a machine that is not listed at the moment.
func (l *Launcher) RestartUnregistered(ctx context.Context, name string, o machd.StopOptions) (Result, error) {
	m, err := l.unregistered(ctx, name)
	if err != nil {
		return Result{}, err
	}
	return l.Restart(ctx, m, o)
}

// restarted waits for the machine that follows before.
func (l *Launcher) restarted(ctx context.Context, before machine.Machine) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, ReadyLimit)
	defer cancel()
	now, err := l.registered(ctx, before)
	if err != nil {
		return Result{}, err
	}
	state, note, err := l.Ready(ctx, now)
	if err != nil {
		return Result{}, err
	}
	l.cfg.Emit(Event{Name: now.Name, Unit: now.Unit, Ready: true})
	return Result{Unit: now.Unit, State: state, Note: note}, nil
}

// registered waits until a machine that is not before is listed in its unit.
func (l *Launcher) registered(ctx context.Context, before machine.Machine) (machine.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	changed, forget := l.watches.add(before.Name)
	defer forget()
	for {
		now, ok := l.cfg.Machines.View().Get(before.Name)
		if ok && now.Unit == before.Unit && (before.Leader == nil || now.Leader != before.Leader) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return machine.Machine{}, machine1.Errorf(machine1.ErrTimeout,
				"%s runs, but no machine '%s' has been registered", before.Unit, before.Name)
		}
	}
}
