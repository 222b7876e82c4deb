package machine

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A Registration is what a registrant says about a machine. Whoever hands one
// in has checked what the registrant may claim.
type Registration struct {
	Name          string
	ID            [16]byte
	Service       string
	Class         machine1.Class
	RootDirectory string

	// Leader and Supervisor are taken over, and closed if the registration
	// fails. Supervisor may be nil.
	Leader     *proc.PIDFD
	Supervisor *proc.PIDFD
	// Implied says that the registrant named no leader, and so is it itself.
	Implied bool

	NetworkInterfaces []int32
	VSockCID          uint32 // 0 is unknown, too
	SSHAddress        string
	SSHPrivateKeyPath string
	ControlAddress    string
	UID               uint32

	// CallerCgroup is the registrant's own cgroup, "" if that is not known.
	CallerCgroup string
}

// Register records a machine that runs in a unit somebody else made. When it
// returns, the state file is there and the machine was announced.
func (m *Manager) Register(ctx context.Context, r Registration) (_ Machine, err error) {
	defer closeUnlessKept(r, &err)

	if err := r.check(); err != nil {
		return Machine{}, err
	}
	cgroup, err := r.Leader.Cgroup()
	if err != nil {
		return Machine{}, errNoUnit(r.Leader, err)
	}
	newcomer := r.machine()
	newcomer.Unit, newcomer.Subgroup, err = m.place(cgroup, r.CallerCgroup)
	if err != nil {
		return Machine{}, errNoUnit(r.Leader, err)
	}
	newcomer.foreign = !m.mayOwn(newcomer, cgroup)
	m.evict(ctx, newcomer)
	return m.add(ctx, newcomer)
}

// CheckName returns an error if a machine called name lives that would not make
// way for another one. One that is over, but has not been collected yet, is
// collected first. One that lives stays: who asks may not be allowed anything.
func (m *Manager) CheckName(ctx context.Context, name string) error {
	if holder, ok := m.View().Get(name); ok && !holder.makesWay() {
		m.collectOver(ctx, holder)
	}
	if holder, taken := m.View().Get(name); taken && !holder.makesWay() {
		return errNameTaken(name)
	}
	return nil
}

// makesWay reports whether the machine lives only until another one comes:
// nobody named its leader, which has ended.
func (m Machine) makesWay() bool { return m.implied && !alive(m.Leader) }

// evict collects the machines that stand in newcomer's way and are over. Their
// collection is under way; but one that registers again at once, as the next
// run of a unit that was killed does, must not be quicker than it.
func (m *Manager) evict(ctx context.Context, newcomer Machine) {
	view := m.View()
	byName, _ := view.Get(newcomer.Name)
	byUnit, _ := view.ByUnit(newcomer.Unit)
	byLeader, _ := view.ByLeader(newcomer.leader.pid, newcomer.leader.id)
	for _, holder := range []Machine{byName, byUnit, byLeader} {
		switch {
		case holder.Name == "":
		case holder.makesWay():
			m.drop(ctx, holder, nil)
		default:
			m.collectOver(ctx, holder)
		}
	}
}

// collectOver collects a machine that is over.
func (m *Manager) collectOver(ctx context.Context, holder Machine) {
	if holder.Class != machine1.ClassHost && !alive(holder.Leader) {
		m.check(ctx, holder.Name)
		m.awaitEmpty(ctx, holder)
	}
}

// awaitEmpty waits for PID 1 to collect the scope that Create made for a
// machine, if there is nobody left in it. It needs milliseconds.
func (m *Manager) awaitEmpty(ctx context.Context, holder Machine) {
	if now, ok := m.View().Get(holder.Name); !ok || now.generation != holder.generation || !holder.madeUnit() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, scopeGoneTimeout)
	defer cancel()
	if inhabited, err := m.units.HasProcesses(ctx, holder.Unit); inhabited || err != nil {
		return
	}
	select {
	case <-holder.life.gone:
	case <-ctx.Done():
	}
}

// add records newcomer, unless its leader is dead: a request can wait in our
// socket for so long that its sender has given up and gone.
func (m *Manager) add(ctx context.Context, newcomer Machine) (Machine, error) {
	if !newcomer.Leader.Alive() {
		return Machine{}, machine1.Errorf(unix.ESRCH, "Process %d is gone", newcomer.leader.pid)
	}
	m.network.Attach(ctx, newcomer)
	added, err := m.registry.Add(newcomer)
	if err != nil {
		m.network.Detach(newcomer)
		return Machine{}, err
	}
	m.counter.began()
	m.began(added)
	return added, nil
}

// check refuses what must never reach the registry, whichever way it came.
func (r Registration) check() error {
	switch {
	case !machine1.ValidMachineName(r.Name):
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine name")
	case !r.Class.Registrable():
		return machine1.Errorf(machine1.ErrNotSupported, "Machine class must be container or vm")
	case r.Leader == nil || r.Leader.PID() == 1:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid leader PID")
	case r.Supervisor != nil && r.Supervisor.PID() == 1:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid supervisor PID")
	}
	return nil
}

// machine returns the machine that r describes, as of now and without a unit.
func (r Registration) machine() Machine {
	return Machine{
		Name:              r.Name,
		ID:                r.ID,
		Service:           r.Service,
		Class:             r.Class,
		RootDirectory:     r.RootDirectory,
		Leader:            r.Leader,
		Supervisor:        r.Supervisor,
		NetworkInterfaces: r.NetworkInterfaces,
		VSockCID:          knownCID(r.VSockCID),
		SSHAddress:        r.SSHAddress,
		SSHPrivateKeyPath: r.SSHPrivateKeyPath,
		ControlAddress:    r.ControlAddress,
		UID:               r.UID,
		Realtime:          uint64(time.Now().UnixMicro()),
		Monotonic:         uint64(clock(unix.CLOCK_MONOTONIC).Microseconds()),
		implied:           r.Implied,
		leader:            identityOf(r.Leader),
		supervisor:        identityOf(r.Supervisor),
	}
}

func closeUnlessKept(r Registration, err *error) {
	if *err != nil {
		closeProcesses(r.Leader, r.Supervisor)
	}
}

// supervisorGroup is where units with DelegateSubgroup=supervisor, as that of
// systemd-nspawn, start their main process.
const supervisorGroup = "supervisor"

// place returns the unit a leader is in and the cgroup below it, empty if the
// machine is to own the unit.
//
// systemd-nspawn before 258 registers while the leader is still in nspawn's own
// cgroup, and moves it away afterwards. Taking that cgroup for the machine's
// would leave it without a unit: link, and a kill of "all" would hit nspawn and
// miss the container. So where registrant and leader are together, the unit is
// the machine's. That must not hold below a user's service manager, where the
// unit would be the whole of it: there the cgroup is another unit or deeper.
func (m *Manager) place(leader, caller string) (name, subgroup string, err error) {
	name, subgroup, err = m.unitOf(leader)
	if err != nil {
		return "", "", err
	}
	together := leader == caller && !strings.Contains(subgroup, "/") && !looksLikeUnit(subgroup)
	if subgroup == supervisorGroup || together {
		subgroup = ""
	}
	return name, subgroup, nil
}

// mayOwn reports whether m, whose leader is in cgroup, may have its unit. Root
// may give a machine any unit, and PID 1 made those of Create for the machine.
// Somebody else may register a process of his own wherever it runs, in a
// service of the host for example, and may then terminate the machine unasked:
// that must not stop the service, so only what is below his own slice is his.
// A user's service manager can stop its own units only.
func (m *Manager) mayOwn(x Machine, cgroup string) bool {
	if m.user {
		_, _, err := userUnitOf(cgroup)
		return err == nil
	}
	return x.UID == 0 || x.Unit == machine1.ScopeName(x.Name) ||
		strings.HasPrefix(cgroup, fmt.Sprintf("/user.slice/user-%d.slice/", x.UID))
}

// unitOf returns the unit of the service manager we work with that cgroup is
// in, and the cgroup below that unit. What a user runs from his login session
// is in no unit of his manager's, and gets the system's name for it.
//
// Reference: cgroup-util.c, cg_path_get_unit_full and cg_path_get_user_unit_full;
// machine-varlink.c, which takes the system's name always.
func (m *Manager) unitOf(cgroup string) (name, subgroup string, err error) {
	if m.user {
		if name, subgroup, err := userUnitOf(cgroup); err == nil {
			return name, subgroup, nil
		}
	}
	return proc.UnitOf(cgroup)
}

// userUnitOf is UnitOf for a user's service manager.
func userUnitOf(cgroup string) (name, subgroup string, err error) {
	if cgroup, err = proc.BelowUser(cgroup); err != nil {
		return "", "", err
	}
	return proc.UnitOf(cgroup)
}

func looksLikeUnit(cgroup string) bool {
	switch path.Ext(cgroup) {
	case ".scope", ".service", ".slice":
		return true
	}
	return false
}

// Reference: machined-dbus.c, method_register_machine_internal.
func errNoUnit(leader *proc.PIDFD, err error) error {
	return machine1.Errorf(err, "Failed to determine unit of process %d : %v", leader.PID(), err)
}
