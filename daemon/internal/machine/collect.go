package machine

import (
	"context"
	"errors"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// unitTimeout is how long PID 1 may take to answer a question about one
	// machine. It answers in milliseconds or is in trouble.
	unitTimeout = 5 * time.Second

	// A question that PID 1 did not answer is put again after retryFirst, and
	// each time after twice as long, up to retryLast.
	retryFirst = time.Second
	retryLast  = 30 * time.Second
)

// collect has the machine called name looked at, and removed if it is over.
// It does not block.
//
// What calls it is the leader's pidfd, the signals of PID 1 about a unit, its
// reload, and we after a stop. systemd-machined also watches the supervisor's
// pidfd and the subgroup's cgroup.events. Those change no verdict, since a
// machine outside a unit of its own is over exactly when its leader is dead;
// they serve where the leader may have no pidfd, and here it always has one.
func (m *Manager) collect(name string) {
	// Most are looked at because one of a thousand may have ended, or because
	// their own units tell all sorts of things.
	if seen, ok := m.View().Get(name); !ok || seen.ScopeJob == "" && alive(seen.Leader) {
		return
	}
	if !m.work.checks.Begin(name) {
		return
	}
	m.work.do(func(ctx context.Context) {
		for retry := retryFirst; ; retry = retryFirst {
			for !m.check(ctx, name) {
				if !pause(ctx, retry) {
					return
				}
				retry = min(2*retry, retryLast)
			}
			if m.work.checks.End(name) {
				return
			}
		}
	})
}

// pause waits, and reports false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// check looks at the machine called name once, and reports false if PID 1 gave
// no answer, which counts as a machine that lives.
func (m *Manager) check(ctx context.Context, name string) bool {
	seen, ok := m.View().Get(name)
	if !ok || seen.Class == machine1.ClassHost {
		return true
	}
	asked, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	over, err := m.over(asked, seen)
	if err != nil {
		m.log.Debug("PID 1 does not answer about a machine.", "machine", name, "error", err)
		return false
	}
	if over {
		m.removeExport(seen)
		m.drop(ctx, seen, nil)
	}
	return true
}

// over reports whether the machine that was seen has ended. On the way it
// notes the end of its job.
//
// Two kinds of machine differ once the leader is dead. A unit that Create made
// is the machine: as long as PID 1 has it active, processes of the machine are
// left in it, and its name could not be used for a new one anyway, so the
// machine stays listed (as in systemd-machined 262). A unit that the leader was
// only found in is somebody else's: a service with other processes, or one
// that PID 1 restarts. It may be active for years and says nothing about the
// machine, whose name must be free when its process is gone.
//
// A leader that nobody named is not trusted to be one: a script registers what
// it runs with a command that exits at once. Such a machine lives as long as
// its unit, but makes way for any other that comes.
//
// Either way no process is ended. systemd-machined would stop the unit, or send
// SIGTERM to the supervisor. Ending things that somebody else started is for
// Terminate only.
//
// Reference: machine.c, machine_may_gc [262].
func (m *Manager) over(ctx context.Context, seen Machine) (bool, error) {
	if seen.ScopeJob != "" {
		pending, err := m.units.JobExists(ctx, seen.ScopeJob)
		if err != nil {
			return false, err
		}
		if pending {
			return false, nil
		}
		m.endJob(seen)
	}
	if alive(seen.Leader) {
		return false, nil
	}
	if !seen.livesWithUnit() {
		return true, nil
	}
	over, err := m.unitOver(ctx, seen.Unit)
	if over || err != nil || !seen.madeUnit() {
		return over, err
	}
	return false, m.endEmpty(ctx, seen)
}

const (
	// PID 1 can miss that the last process of a scope ended, if that was in the
	// moment in which it made the scope. So a scope that loses its leader
	// before it is as old as youth is looked at again after lookAgain.
	youth     = 10 * time.Second
	lookAgain = time.Second
)

// endEmpty stops the scope that we made for the machine, which is active
// without the leader, if there is nobody left in it. The rest comes with the
// signals that tell of its end.
func (m *Manager) endEmpty(ctx context.Context, seen Machine) error {
	inhabited, err := m.units.HasProcesses(ctx, seen.Unit)
	if err != nil {
		return err
	}
	if !inhabited {
		_, err := m.units.Stop(ctx, seen.Unit, "fail")
		if errors.Is(err, machine1.ErrNoSuchUnit) {
			return nil
		}
		return err
	}
	if time.Since(time.UnixMicro(int64(seen.Realtime))) < youth {
		m.work.do(func(ctx context.Context) {
			if pause(ctx, lookAgain) {
				m.collect(seen.Name)
			}
		})
	}
	return nil
}

func (m *Manager) unitOver(ctx context.Context, name string) (bool, error) {
	state, err := m.units.ActiveState(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchUnit) {
		return true, nil
	}
	return state == "inactive" || state == "failed", err
}

// endJob notes that the job the machine was seen with is over.
func (m *Manager) endJob(seen Machine) {
	m.registry.Update(seen, func(now *Machine) {
		if now.ScopeJob == seen.ScopeJob {
			now.ScopeJob = ""
		}
	})
}

func alive(p *proc.PIDFD) bool { return p != nil && p.Alive() }

func closeProcesses(processes ...*proc.PIDFD) {
	for _, p := range processes {
		if p != nil {
			p.Close()
		}
	}
}
