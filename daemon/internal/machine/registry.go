package machine

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A Registry is the one place where machines come and go. Every change is
// state file, then View, then event, so nobody is told of a machine that the
// files or the View do not show yet, and nobody finds one that was said to be
// gone.
type Registry struct {
	dir  stateDir
	log  *slog.Logger
	emit func(Event) // queues; called with mu held, so that no two events of a name change places
	view atomic.Pointer[View]

	// mu is for writers only, and is held for memory and for files on a tmpfs:
	// never for PID 1, the bus, polkit or /proc, which may take for ever.
	mu         sync.Mutex
	generation uint64
	reserved   map[uint64]Machine // by generation
}

func newRegistry(dir stateDir, emit func(Event), log *slog.Logger) *Registry {
	r := &Registry{dir: dir, log: log, emit: emit, reserved: map[uint64]Machine{}}
	r.view.Store(newView())
	return r
}

// View returns the machines of this moment.
func (r *Registry) View() *View { return r.view.Load() }

// Reserve keeps the name and the leader of m from everybody else until m is
// added or release is called. The result is what must be added.
func (r *Registry) Reserve(m Machine) (reserved Machine, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if err := r.conflict(&m); err != nil {
		return Machine{}, nil, err
	}
	m = r.newborn(m)
	r.reserved[m.generation] = m
	release = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.reserved, m.generation)
	}
	return m, release, nil
}

// Add records m, saves it and announces it. A machine that cannot be saved is
// refused: nobody would find it after a restart.
func (r *Registry) Add(m Machine) (Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if err := r.conflict(&m); err != nil {
		return Machine{}, err
	}
	m = r.newborn(m)
	if err := r.dir.save(&m); err != nil {
		return Machine{}, err
	}
	r.publish(&m)
	return m, nil
}

// Adopt is Add for a machine that has a file already, which is written anew if
// it says anything else. It keeps the machine if it cannot be: the old one is
// still there.
func (r *Registry) Adopt(m Machine) (Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if err := r.conflict(&m); err != nil {
		return Machine{}, err
	}
	m = r.newborn(m)
	if !r.dir.holds(&m) {
		r.resave(&m)
	}
	r.publish(&m)
	return m, nil
}

// addHost adds the host's own machine, which has no file and is not announced.
func (r *Registry) addHost(m Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m = r.newborn(m)
	r.view.Store(r.View().with(&m))
}

// Update changes the machine that was seen and returns it as it is now. It
// does nothing if that one has gone, even if its name is there again. Name,
// leader and unit stay.
func (r *Registry) Update(seen Machine, change func(*Machine)) (now Machine, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	now, ok = r.current(seen)
	if !ok {
		return Machine{}, false
	}
	change(&now)
	r.resave(&now)
	r.view.Store(r.View().with(&now))
	return now, true
}

// Remove forgets the machine that was seen, unless it has gone already, even
// if its name is there again. cause is told to whoever waits for the machine.
func (r *Registry) Remove(seen Machine, cause error) (last Machine, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	last, ok = r.current(seen)
	if !ok {
		return Machine{}, false
	}
	if err := r.dir.remove(&last); err != nil {
		r.log.Warn("Cannot remove the state file of a machine.", "machine", last.Name, "error", err)
	}
	r.view.Store(r.View().without(&last))
	r.emit(Event{Machine: last})
	last.life.cause = cause
	close(last.life.gone)
	return last, true
}

// The caller of any function below holds mu.

func (r *Registry) current(seen Machine) (Machine, bool) {
	now, ok := r.View().Get(seen.Name)
	return now, ok && now.generation == seen.generation
}

// newborn gives m its generation, unless it has one reserved.
func (r *Registry) newborn(m Machine) Machine {
	if m.generation == 0 {
		r.generation++
		m.generation = r.generation
		m.life = newLife()
	}
	return m
}

func (r *Registry) publish(m *Machine) {
	r.view.Store(r.View().with(m))
	delete(r.reserved, m.generation)
	r.emit(Event{Added: true, Machine: *m})
}

func (r *Registry) resave(m *Machine) {
	if err := r.dir.save(m); err != nil {
		r.log.Warn("Cannot save a machine; its state file is out of date.", "machine", m.Name, "error", err)
	}
}

// conflict says why m cannot be added.
//
// Reference: machine.c, machine_start and machine_link.
func (r *Registry) conflict(m *Machine) error {
	view := r.View()
	if _, taken := view.Get(m.Name); taken {
		return errNameTaken(m.Name)
	}
	if m.leader.pid != 0 {
		if other, taken := view.ByLeader(m.leader.pid, m.leader.id); taken {
			return errLeaderTaken(m, other.Name)
		}
	}
	if m.OwnsUnit() {
		if other, taken := view.ByUnit(m.Unit); taken {
			return machine1.Errorf(unix.EEXIST, "Unit %s already belongs to machine '%s'", m.Unit, other.Name)
		}
	}
	for generation, other := range r.reserved {
		switch {
		case generation == m.generation:
		case other.Name == m.Name:
			return errNameTaken(m.Name)
		case m.leader.pid != 0 && other.leader.same(m.leader):
			return errLeaderTaken(m, other.Name)
		}
	}
	return nil
}

// Reference: machined-dbus.c, method_create_or_register_machine.
func errNameTaken(name string) error {
	return machine1.Errorf(machine1.ErrMachineExists, "Machine '%s' already exists", name)
}

func errLeaderTaken(m *Machine, other string) error {
	return machine1.Errorf(unix.EEXIST, "Process %d already leads machine '%s'", m.leader.pid, other)
}
