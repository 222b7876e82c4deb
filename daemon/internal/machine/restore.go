package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

// Restore adopts the machines whose files an earlier daemon left, which may
// have been systemd-machined 257 or 262. Those that live are announced again;
// what is over is removed, and nothing of it is stopped. No file can make
// Restore fail. ctx limits what PID 1 is asked.
//
// Reference: machined.c, manager_enumerate_machines and manager_startup.
func (m *Manager) Restore(ctx context.Context) error {
	dir := m.registry.dir
	left, err := dir.list()
	if err != nil {
		return fmt.Errorf("cannot list the state directory: %w", err)
	}
	for _, name := range left.leftovers {
		os.Remove(dir.path(name))
	}
	asked, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()

	var revived []Machine
	for _, name := range left.names {
		r, err := m.revive(asked, name, left.links)
		if errors.Is(err, errOver) {
			m.terminated(r)
			m.ended(r, machd.Ending{Result: machd.EndedMissed}, "")
		}
		if err != nil {
			m.discard(name, err)
			continue
		}
		revived = append(revived, r)
	}
	// Who has a link goes first, lest its unit be taken for nobody's.
	slices.SortStableFunc(revived, func(a, b Machine) int {
		return linkOrder(left.links, a) - linkOrder(left.links, b)
	})
	dir.removeStaleLinks(left.links, revived)
	for _, r := range revived {
		m.adopt(r)
	}
	if len(revived) > 0 {
		// What reading the files took is more than what is going to be needed.
		debug.FreeOSMemory()
	}
	return nil
}

func linkOrder(links map[string]string, m Machine) int {
	if links[m.Unit] == m.Name {
		return 0
	}
	return 1
}

var errOver = errors.New("it has ended")

// revive reads one file and finds its processes. An error says why there is
// no machine; with errOver there was one.
func (m *Manager) revive(ctx context.Context, name string, links map[string]string) (Machine, error) {
	r, err := m.registry.dir.load(name)
	if err != nil {
		return Machine{}, err
	}
	leader := r.leader
	r.Leader = m.reopenLeader(r)
	r.Supervisor = reopenSupervisor(r)
	if r.Leader == nil {
		m.removeExport(r)
	}
	r.leader, r.supervisor = identityOf(r.Leader), identityOf(r.Supervisor)
	if r.Unit == "" {
		r.Unit, r.Subgroup = m.whereNow(r.Leader)
	}
	if r.Subgroup == "" && links[r.Unit] != name && !r.madeUnit() {
		r.Subgroup = m.currentSubgroup(r)
	}
	r.foreign = r.Leader != nil && (r.UID != 0 || m.user) && !m.mayOwn(r, cgroupNow(r.Leader))
	if m.overAtStart(ctx, r) {
		closeProcesses(r.Leader, r.Supervisor)
		r.leader = leader
		return r, errOver
	}
	return r, nil
}

// overAtStart is over for a machine that is in no View yet.
func (m *Manager) overAtStart(ctx context.Context, r Machine) bool {
	if r.Leader != nil || !r.livesWithUnit() {
		return r.Leader == nil
	}
	over, err := m.unitOver(ctx, r.Unit)
	if err != nil {
		m.log.Debug("PID 1 does not answer about a machine.", "machine", r.Name, "error", err)
	}
	return over && err == nil
}

// reopen returns the process that want names, nil if it is gone, its PID has
// been used again, or it is a zombie.
func reopen(want identity) *proc.PIDFD {
	if want.pid <= 1 {
		return nil
	}
	p, err := proc.Open(want.pid)
	if err != nil {
		return nil
	}
	if !identityOf(p).same(want) || !p.Alive() {
		p.Close()
		return nil
	}
	return p
}

// reopenLeader is reopen for the leader. 257 does not write the inode, so
// there its PID counts only in the unit it led: a machine that takes a
// stranger's process for its leader would live as long as that does, and a
// kill would hit it.
func (m *Manager) reopenLeader(r Machine) *proc.PIDFD {
	p := reopen(r.leader)
	if p == nil || r.leader.id != 0 || r.Unit == "" {
		return p
	}
	if name, _ := m.whereNow(p); name != r.Unit {
		p.Close()
		return nil
	}
	return p
}

// reopenSupervisor is reopen for the supervisor. It is sent SIGTERM some day
// and need not be in the unit, so without the inode it is not trusted.
func reopenSupervisor(r Machine) *proc.PIDFD {
	if r.supervisor.id == 0 {
		return nil
	}
	return reopen(r.supervisor)
}

// whereNow returns the unit of p and the cgroup below it, "" if there is none.
func (m *Manager) whereNow(p *proc.PIDFD) (name, subgroup string) {
	name, subgroup, err := m.unitOf(cgroupNow(p))
	if err != nil {
		return "", ""
	}
	return name, subgroup
}

func cgroupNow(p *proc.PIDFD) string {
	if p == nil {
		return ""
	}
	cgroup, err := p.Cgroup()
	if err != nil {
		return ""
	}
	return cgroup
}

const (
	// payloadGroup is where systemd-nspawn keeps a container's processes.
	payloadGroup = "payload"
	// initGroup is where a service manager moves itself to.
	initGroup = "init.scope"
)

// currentSubgroup tells the subgroup of a machine whose file names none. 258
// to 262 leave it out. They make a unit: link for a machine exactly if it owns
// the unit, so where there is none the machine has a subgroup; how deep its
// leader sits would not tell, since nspawn moves every leader to payload. A
// container's own service manager has gone deeper since; that part is cut off.
func (m *Manager) currentSubgroup(r Machine) string {
	name, subgroup := m.whereNow(r.Leader)
	if name != r.Unit {
		return ""
	}
	parts := strings.Split(subgroup, "/")
	if i := slices.Index(parts, payloadGroup); i >= 0 {
		return strings.Join(parts[:i+1], "/")
	}
	return strings.TrimSuffix(subgroup, "/"+initGroup)
}

// adopt records a machine that was revived. If its unit is another machine's,
// it goes on without.
func (m *Manager) adopt(r Machine) {
	if _, taken := m.View().ByUnit(r.Unit); taken && r.OwnsUnit() {
		r.foreign = true
	}
	adopted, err := m.registry.Adopt(r)
	if err != nil {
		closeProcesses(r.Leader, r.Supervisor)
		_ = m.registry.dir.remove(&r)
		m.discard(r.Name, err)
		return
	}
	m.began(adopted)
	// A job may have ended while nobody looked.
	m.collect(adopted.Name)
}

// discard removes the file of what is no machine any more.
func (m *Manager) discard(name string, why error) {
	m.log.Info("Dropped the state file of a machine.", "machine", name, "error", why)
	if err := ignoreMissing(os.Remove(m.registry.dir.path(name))); err != nil {
		m.log.Warn("Cannot remove the state file of a machine.", "machine", name, "error", err)
	}
}
