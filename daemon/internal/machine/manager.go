package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

// Message IDs by which journal readers find the beginning and the end of a
// machine. Reference: sd-messages.h.
const (
	messageMachineStart = "24d8d4452573402496068381a6312df2"
	messageMachineStop  = "58432bd3bace477cb514b56381b8a758"
)

// Units is what the domain asks of PID 1. Errors are PID 1's own, as
// *machine1.RemoteError.
type Units interface {
	// StartTransient returns the job that starts the unit.
	StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error)
	// WaitJob waits for a job's end, even for one that has ended already.
	WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error)
	JobExists(ctx context.Context, job dbus.ObjectPath) (bool, error)
	Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	Kill(ctx context.Context, name, whom string, signal int32) error
	KillSubgroup(ctx context.Context, name, whom, subgroup string, signal int32) error
	Unref(ctx context.Context, name string) error
	ActiveState(ctx context.Context, name string) (string, error)
	HasProcesses(ctx context.Context, name string) (bool, error)
	RefusesStop(ctx context.Context, name string) (bool, error)
}

// Config is what a Manager stands on.
type Config struct {
	Dir   string      // of the state files, machine1.StateDir
	Root  string      // of the host's files; "" is "/"
	Units Units       // PID 1, or the user's service manager
	User  bool        // Units is a user's: the host is no machine then
	Emit  func(Event) // queues a signal; must not block, nor call back
	Log   *slog.Logger

	Network Network // nil for machines that see to theirs themselves
}

// Network gives machines theirs; *network.Manager does.
type Network interface {
	// Attach is called before anybody is told of a machine, and before whoever
	// registers it is answered.
	Attach(ctx context.Context, m Machine)
	// Detach is called when a machine is over, or was not recorded after all.
	Detach(m Machine)
}

// noNetwork is that of machines that see to it themselves.
type noNetwork struct{}

func (noNetwork) Attach(context.Context, Machine) {}
func (noNetwork) Detach(Machine)                  {}

// A Manager is all that can be done with machines.
type Manager struct {
	registry *Registry
	units    Units
	network  Network
	log      *slog.Logger
	work     *work
	awaited  unitWaiters
	ends     unitEnds
	usages   usages
	counter  counter
	user     bool
	leaders  *proc.Watcher // while Run runs

	nspawnDir string // where systemd-nspawn keeps what it needs at run time; "" for a user
}

// New makes the state directory, by whose existence other programs tell that
// there is a machine manager, and knows no machine yet but the host, which is
// no machine for a user.
func New(cfg Config) (*Manager, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	m := &Manager{
		registry: newRegistry(stateDir(cfg.Dir), cfg.Emit, cfg.Log),
		units:    cfg.Units,
		network:  cmp.Or[Network](cfg.Network, noNetwork{}),
		log:      cfg.Log,
		work:     newWork(),
		usages:   usages{age: usageAge},
		user:     cfg.User,
	}
	if cfg.User {
		return m, nil
	}
	root := cmp.Or(cfg.Root, "/")
	m.nspawnDir = filepath.Join(root, "run/systemd/nspawn")
	host, err := hostMachine(root)
	if err != nil {
		return nil, err
	}
	m.registry.addHost(host)
	return m, nil
}

// View returns the machines of this moment.
func (m *Manager) View() *View { return m.registry.View() }

// Run watches the machines and removes those that are over. It returns nil
// when ctx ends; the machines go on.
func (m *Manager) Run(ctx context.Context) error {
	leaders, err := proc.NewWatcher()
	if err != nil {
		return err
	}
	m.leaders = leaders
	return task.Run(ctx, leaders.Run, func(ctx context.Context) error {
		m.work.run(ctx)
		return nil
	})
}

// UnitEvent takes note of what PID 1 says, and leaves the rest to Run.
func (m *Manager) UnitEvent(e unit.Event) {
	switch e.Kind {
	case unit.Reloaded:
		// PID 1 sends no unit signals while it reloads, so anything may have
		// happened.
		m.awaited.wakeAll()
		for seen := range m.View().All() {
			m.collect(seen.Name)
		}
		return
	case unit.UnitRemoved:
		m.awaited.wake(e.Unit)
	}
	view := m.View()
	m.ends.take(e, view.Follows(e.Unit))
	if seen, ok := view.ByUnit(e.Unit); ok {
		m.collect(seen.Name)
	}
}

// find returns the machine called name.
func (m *Manager) find(name string) (Machine, error) {
	found, ok := m.View().Get(name)
	if !ok {
		return Machine{}, machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
	}
	return found, nil
}

// began is what follows Add: the log line, and the watch over the leader.
func (m *Manager) began(added Machine) {
	m.log.Info("New machine "+added.Name+".",
		append(historyFields(added), "MESSAGE_ID", messageMachineStart)...)
	if added.Leader == nil {
		return
	}
	m.work.doBriefly(func() {
		err := m.leaders.Watch(added.Leader, func() { m.collect(added.Name) })
		if err != nil && !errors.Is(err, os.ErrClosed) {
			m.log.Error("The end of a machine will not be noticed.", "machine", added.Name, "error", err)
		}
	})
}

// drop removes the machine that was seen from the books, whatever becomes of
// its processes, and lets go of all we held of it. It does nothing if that
// machine has gone already. ctx limits the call to PID 1 at the end.
func (m *Manager) drop(ctx context.Context, seen Machine, cause error) {
	end := m.ends.await(seen)
	// Whoever starts it again as soon as it is gone must not meet its network.
	m.network.Detach(seen)
	last, ok := m.registry.Remove(seen, cause)
	if !ok {
		end.forget()
		return
	}
	m.terminated(last)
	closeProcesses(last.Supervisor)
	m.forget(last.Leader)
	m.tellEnding(last, end)
	if last.referenced {
		m.unref(ctx, last.Unit)
	}
}

// terminated writes the line by which others know that a machine is over.
func (m *Manager) terminated(last Machine) {
	m.log.Info("Machine "+last.Name+" terminated.",
		append(historyFields(last), "MESSAGE_ID", messageMachineStop)...)
}

// forget ends the watch over a leader that has been closed.
func (m *Manager) forget(leader *proc.PIDFD) {
	m.work.doBriefly(func() { m.leaders.Forget(leader) })
}

// unref gives PID 1's reference to a unit back. As long as we hold it, a
// stopped scope stays loaded and its name cannot be used again, so this is done
// before anybody is told that the machine has gone for good.
func (m *Manager) unref(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unitTimeout)
	defer cancel()
	if err := m.units.Unref(ctx, name); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		m.log.Debug("PID 1 did not take its reference back.", "unit", name, "error", err)
	}
}
