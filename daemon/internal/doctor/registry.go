package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// checkLeader looks whether the process that the machine lives with still does.
func checkLeader(_ context.Context, p *patient) (found []finding, applies bool) {
	switch {
	case p.Leader == nil:
		return nil, false
	case !p.Leader.Alive():
		found = append(found, trouble(fmt.Sprintf("the machine's leader, process %d, has ended", p.Leader.PID()),
			"The machine is over; something of its unit "+p.Unit+" is left.", "machctl terminate "+p.Name))
	}
	if _, err := os.Lstat(filepath.Join(p.cfg.Paths.States, p.Name)); errors.Is(err, fs.ErrNotExist) && p.UID == 0 {
		found = append(found, doubt("the machine has no state file",
			"Somebody has removed it: libsystemd does not see the machine, and the next daemon will not know it.", ""))
	}
	return found, true
}

const (
	unitLink  = "unit:" // what the name of a link from a unit to its machine begins with
	temporary = ".#"    // and that of a file that is being written
	// writing is how long that may take.
	writing = time.Minute
)

// checkStates looks for state files of machines that there are not.
func checkStates(_ context.Context, v *visit) (found []finding, applies bool) {
	entries, err := os.ReadDir(v.cfg.Paths.States)
	if err != nil {
		return unknown(v.cfg.Paths.States, err), true
	}
	now := &visit{Doctor: v.Doctor, machines: v.cfg.Machines()} // who came since
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(v.cfg.Paths.States, name)
		switch {
		case strings.HasPrefix(name, unitLink):
			target, err := os.Readlink(path)
			if err != nil || now.knows(target) {
				continue
			}
			found = append(found, doubt(fmt.Sprintf("the link %s is to a machine that there is not", name),
				"Whoever looks for the machine of that unit is misled.", "rm "+path).about(path).mendedBy(v.unless(target, path)))
		case strings.HasPrefix(name, temporary):
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > writing {
				found = append(found, doubt(fmt.Sprintf("%s was left by a daemon that was killed", name), "", "rm "+path).
					about(path).mendedBy(v.unless(name, path)))
			}
		case e.Type().IsRegular() && machine1.ValidMachineName(name) && !now.knows(name):
			found = append(found, v.staleState(name, path))
		}
	}
	return found, true
}

// staleState is about a file of a machine that is not registered.
func (v *visit) staleState(name, path string) finding {
	pid, alive := leaderIn(path)
	if alive {
		return doubt(fmt.Sprintf("%s has a state file and is not registered, though its leader %d lives", name, pid),
			"The daemon could not read the file when it started, or somebody wrote it since.", "systemctl restart machd").about(path)
	}
	return doubt(fmt.Sprintf("%s has a state file, and there is no such machine", name),
		fmt.Sprintf("Its leader, process %d, has ended; nobody noticed.", pid), "rm "+path).about(path).mendedBy(v.unless(name, path))
}

// unless removes a file if there still is no machine of that name.
func (v *visit) unless(machine, path string) func(context.Context) error {
	return func(context.Context) error {
		if (&visit{machines: v.cfg.Machines()}).knows(machine) {
			return nil
		}
		return os.Remove(path)
	}
}

// maxState is more than a state file has, bytes.
const maxState = 64 << 10

// leaderIn returns the leader that a state file names, and whether it lives.
func leaderIn(path string) (pid int, alive bool) {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > maxState {
		return 0, true // nothing is known
	}
	list, err := envfile.Parse(data)
	if err != nil {
		return 0, true
	}
	text, _ := list.Get("LEADER")
	id, _ := list.Get("LEADER_PIDFDID")
	if pid, err = strconv.Atoi(text); err != nil || pid <= 0 {
		return 0, false
	}
	process, err := proc.Open(pid)
	if err != nil {
		return pid, !errors.Is(err, unix.ESRCH)
	}
	defer process.Close()
	number, err := strconv.ParseUint(id, 10, 64)
	return pid, err != nil || number == process.ID()
}

// checkScopes looks for units of machines that there are not.
func checkScopes(ctx context.Context, v *visit) (found []finding, applies bool) {
	scopes, err := v.cfg.Units.ListActive(ctx, "machine-*.scope")
	if err != nil {
		return unknown("the units of PID 1", err), true
	}
	for _, scope := range scopes {
		if ownsUnit(v.cfg.Machines(), scope) {
			continue
		}
		busy, err := v.cfg.Units.HasProcesses(ctx, scope)
		switch {
		case errors.Is(err, machine1.ErrNoSuchUnit):
		case err != nil:
			found = append(found, unknown(scope, err)...)
		case busy:
			found = append(found, doubt(fmt.Sprintf("%s has processes and belongs to no machine", scope),
				"A container that is not registered runs there, or what an ended one has left.", "systemctl status "+scope).about(scope))
		default:
			found = append(found, doubt(fmt.Sprintf("%s is active and has no processes", scope),
				"Its machine has ended and PID 1 has overlooked it; the name cannot be used again.", "systemctl stop "+scope).
				about(scope).mendedBy(func(ctx context.Context) error { return v.stop(ctx, scope) }))
		}
	}
	return found, true
}

func ownsUnit(machines []machine.Machine, unit string) bool {
	for _, m := range machines {
		if m.Unit == unit {
			return true
		}
	}
	return false
}

// stop stops a unit if it is still nobody's and empty.
func (v *visit) stop(ctx context.Context, unit string) error {
	busy, err := v.cfg.Units.HasProcesses(ctx, unit)
	if err != nil || busy || ownsUnit(v.cfg.Machines(), unit) {
		return err
	}
	_, err = v.cfg.Units.Stop(ctx, unit, "fail")
	return err
}
