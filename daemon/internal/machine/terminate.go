package machine

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// Whom Kill can signal. An empty whom is everybody.
const (
	killLeader     = "leader"
	killSupervisor = "supervisor"
	killAll        = "all"
)

// maxSignal is SIGRTMAX.
const maxSignal = 64

// Unregister forgets the machine called name, and leaves its processes and its
// unit alone. When it returns, the name is free. For the host it does nothing.
//
// Reference: machine-dbus.c, method_unregister_machine.
func (m *Manager) Unregister(ctx context.Context, name string) error {
	seen, err := m.find(name)
	if err != nil || seen.Class == machine1.ClassHost {
		return err
	}
	m.drop(ctx, seen, nil)
	return nil
}

// Terminate begins to end the machine called name: by stopping its unit if it
// owns one, else by SIGTERM to its supervisor. It does not wait for the end.
// In a unit that is not the registrant's it is the leader that gets the signal.
//
// Reference: machine.c, machine_stop.
func (m *Manager) Terminate(ctx context.Context, name string) (err error) {
	seen, err := m.find(name)
	if err != nil {
		return err
	}
	if seen.Class == machine1.ClassHost {
		return machine1.Errorf(machine1.ErrNotSupported, "The host cannot be terminated as a machine")
	}
	if err := m.checkProtection(ctx, seen); err != nil {
		return err
	}
	seen.life.terminating.Store(true)
	defer func() {
		if err != nil {
			seen.life.terminating.Store(seen.Stopping)
		}
	}()
	change := func(now *Machine) { now.Stopping = true }
	switch {
	case seen.OwnsUnit():
		job, err := m.units.Stop(ctx, seen.Unit, "fail")
		if err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
			return err
		}
		change = func(now *Machine) { now.Stopping, now.ScopeJob = true, job }
	case alive(seen.Supervisor):
		if err := seen.Supervisor.Signal(unix.SIGTERM); err != nil {
			return err
		}
	case seen.foreign:
		if err := signalProcess(seen.Leader, int32(unix.SIGTERM)); err != nil {
			return err
		}
	default:
		return machine1.Errorf(machine1.ErrNotSupported,
			"Machine '%s' has no unit of its own and no supervisor that could terminate it", name)
	}
	m.registry.Update(seen, change)
	// The job may have ended before it was written down.
	m.collect(name)
	return nil
}

// Terminating notes that a machine which is listed is ended, by other means than
// Terminate's, because somebody wants that.
func (m *Manager) Terminating(seen Machine) {
	seen.life.terminating.Store(true)
	m.registry.Update(seen, func(now *Machine) { now.Stopping = true })
}

// CheckKill refuses what Kill could not do whatever the machine is.
func CheckKill(whom string, signal int32) error {
	switch whom {
	case "", killLeader, killSupervisor, killAll:
	default:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid kill parameter '%s'", whom)
	}
	if signal < 1 || signal > maxSignal {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid signal %d", signal)
	}
	return nil
}

// Kill sends signal to the processes of the machine called name that whom
// selects. An empty whom means all.
//
// Reference: machine-dbus.c, bus_machine_method_kill, and machine.c, machine_kill.
func (m *Manager) Kill(ctx context.Context, name, whom string, signal int32) error {
	if err := CheckKill(whom, signal); err != nil {
		return err
	}
	seen, err := m.find(name)
	if err != nil {
		return err
	}
	if seen.Class == machine1.ClassHost {
		return machine1.Errorf(machine1.ErrNotSupported, "The host cannot be killed as a machine")
	}
	if err := m.checkProtection(ctx, seen); err != nil {
		return err
	}
	switch whom {
	case killLeader:
		return signalProcess(seen.Leader, signal)
	case killSupervisor:
		return signalProcess(seen.Supervisor, signal)
	}
	return m.killAll(ctx, seen, signal)
}

// checkProtection refuses what may end a machine that was started to be spared
// that: its unit refuses to be stopped. While PID 1 does not tell, none is.
func (m *Manager) checkProtection(ctx context.Context, seen Machine) error {
	if seen.Unit == "" || seen.foreign {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	if refuses, err := m.units.RefusesStop(ctx, seen.Unit); err == nil && refuses {
		return ErrProtected(seen.Name)
	}
	return nil
}

// ErrProtected says that a machine is not to be ended without force.
func ErrProtected(name string) error {
	return machine1.Errorf(unix.EBUSY, "Machine '%s' is protected; it takes \"machctl stop --force\" to end it", name)
}

func (m *Manager) killAll(ctx context.Context, seen Machine, signal int32) error {
	switch {
	case seen.OwnsUnit():
		return m.units.Kill(ctx, seen.Unit, killAll, signal)
	case seen.foreign:
		return signalProcess(seen.Leader, signal)
	case seen.Subgroup != "":
		return m.units.KillSubgroup(ctx, seen.Unit, "cgroup", seen.Subgroup, signal)
	}
	return machine1.Errorf(unix.ESRCH, "Machine '%s' has no unit of its own", seen.Name)
}

func signalProcess(p *proc.PIDFD, signal int32) error {
	if p == nil {
		return unix.ESRCH
	}
	return p.Signal(unix.Signal(signal))
}
