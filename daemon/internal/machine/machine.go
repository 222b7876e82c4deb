// Package machine is the domain of the daemon: which machines there are, what
// may happen to each of them, and when one is over. It keeps the state files
// that other programs read. It talks to PID 1 and to processes through narrow
// seams, and must not know D-Bus objects, Varlink or polkit: who may do
// something is decided before it is asked.
package machine

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A Machine is what was known of a machine at one moment. It is a value: a
// copy stays as it is for as long as somebody holds it.
type Machine struct {
	Name          string
	ID            [16]byte // zero if the registrant gave none
	Service       string   // the registrant's name for itself, as systemd-nspawn
	Class         machine1.Class
	RootDirectory string // as given; never resolved, so never to be trusted

	// Leader is the process that the machine lives and dies with. Supervisor
	// registered it, if that was another process. The registry closes both
	// when the machine goes. nil stands for none.
	Leader     *proc.PIDFD
	Supervisor *proc.PIDFD

	Unit     string          // the unit of PID 1 that the leader was found in
	Subgroup string          // cgroup below Unit; empty if the machine has the whole unit
	ScopeJob dbus.ObjectPath // start or stop job of Unit that is not over yet; empty if none

	NetworkInterfaces []int32 // indexes on the host's side
	VSockCID          uint32  // machine1.VSockCIDAny if unknown
	SSHAddress        string
	SSHPrivateKeyPath string
	ControlAddress    string // Varlink socket of a VM's manager

	UID       uint32 // who registered it
	Realtime  uint64 // when, µs of CLOCK_REALTIME
	Monotonic uint64 // when, µs of CLOCK_MONOTONIC
	Stopping  bool   // its end was asked for

	// leader and supervisor name the processes when their descriptors are
	// closed, or not opened yet.
	leader, supervisor identity

	implied    bool   // nobody named the leader, which may have been a short-lived command
	foreign    bool   // the unit is neither the machine's nor the registrant's
	referenced bool   // we hold PID 1's reference to Unit
	generation uint64 // tells it from an older machine of this name
	life       *life
}

// State returns what the machine is doing now.
//
// Reference: machine.c, machine_get_state.
func (m Machine) State() machine1.State {
	switch {
	case m.Class == machine1.ClassHost:
		return machine1.StateRunning
	case m.Stopping:
		return machine1.StateClosing
	case m.ScopeJob != "":
		return machine1.StateOpening
	}
	return machine1.StateRunning
}

// OwnsUnit reports whether the machine has its unit to itself, so that ending
// the machine is ending the unit.
func (m Machine) OwnsUnit() bool {
	return m.Unit != "" && m.Subgroup == "" && !m.foreign && m.Class != machine1.ClassHost
}

// sharesUnit reports whether the unit is the supervisor's and the machine has a
// part of it, as systemd-nspawn gives since version 258. Supervisors with other
// things to do, such as a user's manager, go on when a machine ends.
func (m Machine) sharesUnit() bool {
	return m.Unit != "" && !m.OwnsUnit() && !m.foreign && m.Supervisor != nil && !strings.HasPrefix(m.Unit, "user@")
}

// madeUnit reports whether Create made the unit, in this process or in one
// before it: nobody else makes units of this name.
func (m Machine) madeUnit() bool {
	return m.OwnsUnit() && m.Unit == machine1.ScopeName(m.Name)
}

// livesWithUnit reports whether the machine goes on without its leader for as
// long as its unit does.
func (m Machine) livesWithUnit() bool {
	return m.madeUnit() || m.implied && m.OwnsUnit()
}

// An Event says that a machine appeared or that it has gone.
type Event struct {
	Added   bool
	Machine Machine
}

// An identity names a process for good: a PID is used again, the inode of its
// pidfd is not. The inode is 0 where the kernel has none.
type identity struct {
	pid int
	id  uint64
}

func identityOf(p *proc.PIDFD) identity {
	if p == nil {
		return identity{}
	}
	return identity{p.PID(), p.ID()}
}

// same reports whether both can be one process.
func (i identity) same(other identity) bool {
	return i.pid == other.pid && (i.id == other.id || i.id == 0 || other.id == 0)
}

// key has the PID first, so that a look-up without the inode is one by prefix.
func (i identity) key() []byte { return fmt.Appendf(nil, "%d/%d", i.pid, i.id) }

// life tells whoever waits for a machine what became of it. All copies of the
// machine share it.
type life struct {
	opened chan struct{} // closed once the unit was started
	gone   chan struct{} // closed once the registry has forgotten the machine
	cause  error         // why it is gone, nil if by itself; valid once gone is closed

	// terminating says that it is being told to end. It may do so before its
	// state says that.
	terminating atomic.Bool

	// ids are the maps of users and of groups as they were last read.
	ids [2]atomic.Pointer[readMap]
}

func newLife() *life {
	return &life{opened: make(chan struct{}), gone: make(chan struct{})}
}
