package varlinkapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/varlink"
)

// find returns the machine that the caller names by name, by process, or by
// both if they agree.
//
// Reference: machine-varlink.c, lookup_machine_by_name_or_pidref.
func (a *API) find(ctx context.Context, c *varlink.Call) (machine.Machine, error) {
	byName, byProcess := c.In.Has("name"), c.In.Has("pid")
	var m machine.Machine
	if byName {
		var ok bool
		if m, ok = a.Machines.View().Get(c.In.String("name")); !ok {
			return m, errNoSuchMachine
		}
	}
	if !byProcess {
		if !byName {
			return m, errNoSuchMachine
		}
		return m, nil
	}
	process, err := a.process(c, c.In.Object("pid"))
	if err != nil {
		return m, errNoSuchMachine
	}
	defer process.Close()
	found, err := a.Machines.ByPID(ctx, process)
	if err != nil || byName && found.Name != m.Name {
		return m, errNoSuchMachine
	}
	return found, nil
}

// process pins the process that p, a ProcessId, names. PID 0 is the caller.
func (a *API) process(c *varlink.Call, p varlink.Object) (*proc.PIDFD, error) {
	if p.Int("pid") == 0 {
		caller, err := a.Identify(c.Conn)
		if err != nil {
			return nil, err
		}
		defer caller.Close()
		return caller.PIDFD.Dup()
	}
	if a.isRemote(p) {
		return nil, errNoSuchMachine
	}
	process, err := proc.Open(int(p.Int("pid")))
	if err != nil {
		return nil, err
	}
	if id := uint64(p.Int("pidfdId")); id != 0 && process.ID() != 0 && id != process.ID() {
		process.Close()
		return nil, errNoSuchMachine
	}
	return process, nil
}

// isRemote reports whether p, a ProcessId, is of another boot or host. The
// null ID stands for none.
func (a *API) isRemote(p varlink.Object) bool {
	given, _ := parseID(p.String("bootId"))
	ours, _ := parseID(a.bootID)
	return given != [16]byte{} && given != ours
}
