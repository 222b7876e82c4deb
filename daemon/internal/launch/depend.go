package launch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// dependUnits is what keeping machine@.service right asks of PID 1.
type dependUnits interface {
	ListActive(ctx context.Context, pattern string) ([]string, error)
}

// machine@NAME.service is what other units name to depend on a machine: a
// oneshot that stays active while the machine can be used, whichever unit
// carries that, and through a reboot of it. It has no process that could see
// the machine end, so it is stopped from here.
const (
	dependedPrefix = "machine@"
	dependedSuffix = ".service"
)

func dependedUnit(name string) string { return dependedPrefix + name + dependedSuffix }

// ended are machines that have ended and may have left their machine@.service
// behind.
type ended struct {
	mu    sync.Mutex
	names map[string]bool
	wake  chan struct{} // capacity 1
}

func newEnded() *ended { return &ended{names: map[string]bool{}, wake: make(chan struct{}, 1)} }

// add does not block.
func (e *ended) add(name string) {
	e.mu.Lock()
	e.names[name] = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *ended) take() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := e.names
	e.names = map[string]bool{}
	return names
}

// stopDepended stops machine@.service of each machine that ends, until ctx ends.
// It begins with those whose machine ended while there was no daemon.
func (l *Launcher) stopDepended(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	for _, name := range l.dependedOn(ctx) {
		l.ended.add(name)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.ended.wake:
			for name := range l.ended.take() {
				checks.Go(func() { l.stopUnlessBack(ctx, name) })
			}
		}
	}
}

// dependedOn returns the machines whose machine@.service is active.
func (l *Launcher) dependedOn(ctx context.Context) []string {
	units, err := l.cfg.Units.ListActive(ctx, dependedUnit("*"))
	if err != nil {
		l.cfg.Log.Warn("Units that machines depend on may stay active without their machine.", "error", err)
	}
	var names []string
	for _, unit := range units {
		name := strings.TrimSuffix(strings.TrimPrefix(unit, dependedPrefix), dependedSuffix)
		if machine1.ValidMachineName(name) {
			names = append(names, name)
		}
	}
	return names
}

// stopUnlessBack stops the machine@.service of a machine that has ended, once
// nothing is going on that would bring the machine back, and returns when that
// is on its way down: until then PID 1 may have something else to do with it, or
// somebody may call the stop off.
func (l *Launcher) stopUnlessBack(ctx context.Context, name string) {
	unit := dependedUnit(name)
	changed, forget := l.watches.add(append(carriers(name), name, unit)...)
	defer forget()
	for pause := lookPause; ; pause = min(2*pause, recheckAfter) {
		u, err := l.cfg.Units.Ending(ctx, unit)
		if errors.Is(err, machine1.ErrNoSuchUnit) || u.RefusesStop || err == nil && u.State != "active" && u.State != "activating" {
			return
		}
		if _, back := l.cfg.Machines.View().Get(name); back {
			return
		}
		if err == nil && u.State == "active" && !u.HasJob && l.staysDown(ctx, name) {
			// Any other mode would cancel what somebody else has PID 1 do with
			// the unit, such as a restart.
			_, err := l.cfg.Units.Stop(ctx, unit, "fail")
			if err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
				l.cfg.Log.Debug("PID 1 does not stop a unit whose machine has ended.", "unit", unit, "error", err)
			}
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// dependedGrace is how long the machine@.service of a machine that has ended is
// waited for. What depends on it ends first, and may be waiting for whoever waits
// here.
const dependedGrace = 5 * time.Second

// standsFor reports whether the machine@.service of a machine is up, and PID 1
// has nothing to do with it: its own ExecStop= would wait for itself, as would
// that of what ends with it.
func (l *Launcher) standsFor(ctx context.Context, name string) bool {
	u, err := l.cfg.Units.Ending(ctx, dependedUnit(name))
	return err == nil && u.State == "active" && !u.HasJob && !u.RefusesStop
}

// awaitDependedDown waits until the machine@.service of a machine that has ended
// is down, as a start of it would do nothing before.
func (l *Launcher) awaitDependedDown(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, dependedGrace)
	defer cancel()
	changed, forget := l.watches.add(name, dependedUnit(name))
	defer forget()
	for {
		u, err := l.cfg.Units.Ending(ctx, dependedUnit(name))
		_, back := l.cfg.Machines.View().Get(name)
		if back || errors.Is(err, machine1.ErrNoSuchUnit) || err == nil && isOver(u.State) {
			return
		}
		select {
		case <-changed:
		case <-time.After(lastLookPause):
		case <-ctx.Done():
			return
		}
	}
}

// staysDown reports whether none of the units is up, or about to be, that the
// machine may be started as.
func (l *Launcher) staysDown(ctx context.Context, name string) bool {
	for _, unit := range carriers(name) {
		u, err := l.cfg.Units.Ending(ctx, unit)
		switch {
		case errors.Is(err, machine1.ErrNoSuchUnit):
		case err != nil, u.HasJob, u.State != "inactive" && u.State != "failed":
			return false
		}
	}
	return true
}
