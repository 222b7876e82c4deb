package launch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// endLimit is how long a machine of the same name that is ending is waited
	// for: as long as its unit may take to stop, and a bit.
	endLimit = 2*time.Minute + 10*time.Second
	// unlistedLimit is how long a unit may run before its machine is listed, once
	// it counts as started or if somebody else started it.
	unlistedLimit = 10 * time.Second
)

// errRunning says that what was asked for is there already.
var errRunning = errors.New("the machine is running already")

// transientUnit returns the unit that a machine is started in, unless an
// administrator has set up another one.
func transientUnit(name string) string { return "machine-" + machine1.EscapeUnit(name) + ".service" }

// clear makes way for a start: it waits for a predecessor that is ending, and
// removes what one has left that was killed. errRunning says that the machine
// runs and nobody asked for another one, s.result how far it is.
func (s *start) clear(ctx context.Context) error {
	units := carriers(s.name)
	changed, stop := s.l.watches.add(append(carriers(s.name), s.name)...)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	began := time.Now()
	for {
		inTheWay, err := s.predecessor(ctx, units, time.Since(began))
		if err != nil {
			return err
		}
		if inTheWay == "" {
			s.l.removeExport(s.name)
			awaitLinkGone(ctx, s.name)
			return nil
		}
		select {
		case <-changed:
		case <-time.After(lookAgain / 4):
		case <-ctx.Done():
			return machine1.Errorf(machine1.ErrTimeout, "%s is still there, of an earlier machine '%s' that does not end", inTheWay, s.name)
		}
	}
}

// linkGrace is how long the kernel may take to remove the link of a machine that
// was killed, with its network name space. A socket that somebody has from there
// keeps that for longer, and systemd-nspawn says then what is in its way.
const linkGrace = 5 * time.Second

// awaitLinkGone waits for the link that a machine of that name would have: an
// orderly systemd-nspawn removes its own, which the next one has to make anew.
func awaitLinkGone(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, linkGrace)
	defer cancel()
	for exists("/sys/class/net/" + link.HostName(name)) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// predecessor returns what is in the way, for now.
func (s *start) predecessor(ctx context.Context, units []string, waited time.Duration) (inTheWay string, err error) {
	if m, ok := s.l.cfg.Machines.View().Get(s.name); ok {
		return s.namesake(ctx, units, m)
	}
	for _, unit := range units {
		state, err := s.l.cfg.Units.ActiveState(ctx, unit)
		switch {
		case errors.Is(err, machine1.ErrNoSuchUnit):
		case err != nil:
			return "", err
		case state == "failed" && unit == units[0]:
			// Nobody else sets up units of this name.
			if err := s.l.cfg.Units.ResetFailed(ctx, unit); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
				return "", err
			}
			inTheWay = unit
		case isOver(state) && unit == units[0]:
			inTheWay = unit // as long as somebody holds it, to see how it ended, PID 1 makes no other
		case isOver(state):
		case state == "active" && waited > unlistedLimit:
			return "", machine1.Errorf(machine1.ErrMachineExists, "%s runs already, and has registered no machine", unit)
		default:
			return unit, nil
		}
	}
	if inTheWay == "" && s.isStillStoodFor(ctx) {
		return dependedUnit(s.name), nil
	}
	return inTheWay, nil
}

// isStillStoodFor reports whether the machine@.service of a predecessor is being
// stopped, or about to be: it would take along what is started now.
func (s *start) isStillStoodFor(ctx context.Context) bool {
	u, err := s.l.cfg.Units.Ending(ctx, dependedUnit(s.name))
	return err == nil && (u.State == "deactivating" || u.State == "active" && !u.RefusesStop)
}

// namesake is about a machine of the same name that is listed.
func (s *start) namesake(ctx context.Context, units []string, m machine.Machine) (inTheWay string, err error) {
	if m.Stopping || isDead(m.Leader) || isDead(m.Supervisor) {
		return "its registration", nil
	}
	if m.Unit != "" {
		run, err := s.l.cfg.Units.LastRun(ctx, m.Unit)
		if err != nil { // it is no service
			run.State, err = s.l.cfg.Units.ActiveState(ctx, m.Unit)
		}
		if err == nil && (isOver(run.State) || run.State == "deactivating" || hasEnded(run.MainPID)) {
			return m.Unit, nil
		}
	}
	if slices.Contains(units, m.Unit) && hasNone(s.options) {
		s.result = Result{Unit: m.Unit, State: machd.StateRegistered, Note: "it is running already"}
		return "", errRunning
	}
	return "", machine1.Errorf(machine1.ErrMachineExists, "Machine '%s' is running already%s", s.name, whereabouts(m))
}

// hasEnded reports whether the main process of a unit has ended, which PID 1
// may have yet to notice.
func hasEnded(pid uint32) bool {
	if pid == 0 {
		return false
	}
	p, err := proc.Open(int(pid))
	if err != nil {
		return true
	}
	defer p.Close()
	return !p.Alive()
}

func isDead(p *proc.PIDFD) bool { return p != nil && !p.Alive() }

// whereabouts says whose a machine is.
func whereabouts(m machine.Machine) string {
	var where strings.Builder
	if m.Unit != "" {
		where.WriteString(", in " + m.Unit)
	}
	if m.Service != "" {
		where.WriteString(", registered by " + m.Service)
	}
	return where.String()
}
