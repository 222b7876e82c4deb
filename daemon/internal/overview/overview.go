// Package overview tells at a glance what there is to tell of machines: what is
// on record of them, and what has to be looked for in each. It looks into many
// at the same time, so that one that does not answer costs itself alone. It
// decides nothing about who may see what.
package overview

import (
	"context"
	"encoding/hex"
	"errors"
	"iter"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vmcontrol"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// defaultPatience and maxPatience are how long one machine may take.
	defaultPatience = 3 * time.Second
	maxPatience     = 25 * time.Second
	// atOnce is how many machines are looked into at a time. It is more than
	// there are processors since some of them may not answer.
	atOnce = 32
)

// Inside reaches into machines; *inside.Guard does.
type Inside interface {
	OSRelease(ctx context.Context, leader *proc.PIDFD) (map[string]string, error)
}

// Machines tells which machines there are; *machine.Manager does.
type Machines interface{ View() *machine.View }

// Networks tells of the networks of machines; *network.Manager does.
type Networks interface {
	Glances() map[string]network.Glance
}

// A Viewer makes overviews. It is safe for concurrent use.
type Viewer struct {
	Machines Machines
	Inside   Inside
	Networks Networks // nil if somebody else sees to them
}

// Of returns the overview of the machines called names, or of all if there are
// none, sorted by name. A machine that is not there is left out. If denied is not
// nil, no machine's files are looked into, for that reason.
func (v *Viewer) Of(ctx context.Context, names []string, o machd.OverviewOptions, denied error) ([]machd.MachineOverview, error) {
	patience := min(o.Patience, maxPatience)
	if patience <= 0 {
		patience = defaultPatience
	}
	var glances map[string]network.Glance
	if v.Networks != nil {
		glances = v.Networks.Glances()
	}
	var rows []machd.MachineOverview
	var machines []machine.Machine
	for m := range chosen(v.Machines.View(), names) {
		rows = append(rows, known(m, glances[m.Name]))
		machines = append(machines, m)
	}
	var next counter
	var workers sync.WaitGroup
	for range min(atOnce, len(rows)) {
		workers.Go(func() {
			var addresses netns.Reader
			defer addresses.Close()
			for i := next.take(); i < len(rows) && ctx.Err() == nil; i = next.take() {
				if o.Paused {
					tellPaused(ctx, &rows[i], machines[i], patience)
				}
				v.lookInto(ctx, &addresses, &rows[i], machines[i].Leader, patience, denied)
			}
		})
	}
	workers.Wait()
	return rows, ctx.Err()
}

// chosen yields the machines called names, or all, sorted by name.
func chosen(view *machine.View, names []string) iter.Seq[machine.Machine] {
	if len(names) == 0 {
		return view.All()
	}
	return view.Named(names...)
}

// known is what is on record of m.
func known(m machine.Machine, n network.Glance) machd.MachineOverview {
	row := machd.MachineOverview{
		Name: m.Name, Class: string(m.Class), Service: m.Service, State: string(m.State()),
		Unit: m.Unit, Subgroup: m.Subgroup, Leader: pidOf(m.Leader), Supervisor: pidOf(m.Supervisor),
		Since: m.Realtime, RootDirectory: m.RootDirectory, UID: m.UID, Interfaces: m.NetworkInterfaces,
		Link: n.Link, Zone: n.Zone, Ports: n.Ports, Inward: n.Inward,
	}
	if m.ID != [16]byte{} {
		row.ID = hex.EncodeToString(m.ID[:])
	}
	return row
}

func pidOf(p *proc.PIDFD) uint32 {
	if p == nil {
		return 0
	}
	return uint32(p.PID())
}

// lookInto adds what the machine itself has to be asked for.
func (v *Viewer) lookInto(ctx context.Context, r *netns.Reader, row *machd.MachineOverview, leader *proc.PIDFD, patience time.Duration, denied error) {
	if err := canLookInto(row, leader); err != nil {
		row.OSError, row.AddressError = nameOf(err), nameOf(err)
		return
	}
	if row.Class == string(machine1.ClassHost) {
		leader = nil // whose networking would be no private one
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	addresses, err := r.LinkAddresses(ctx, leader, row.Name)
	row.Addresses, row.AddressError = texts(addresses), nameOf(err)
	if denied != nil {
		row.OSError = nameOf(denied)
		return
	}
	osRelease, err := v.Inside.OSRelease(ctx, leader)
	row.OSID, row.OSVersion, row.OSName = osRelease["ID"], osRelease["VERSION_ID"], osRelease["PRETTY_NAME"]
	row.OSError = nameOf(err)
}

// tellPaused has a machine that stands still say so. Of a virtual machine only
// what runs it knows.
func tellPaused(ctx context.Context, row *machd.MachineOverview, m machine.Machine, patience time.Duration) {
	if m.Leader == nil || row.State != string(machine1.StateRunning) {
		return
	}
	paused, err := m.Leader.Frozen()
	if socket := vmcontrol.Socket(m); err == nil && !paused && socket != "" {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		paused, err = vmcontrol.Paused(ctx, socket)
	}
	if err == nil && paused {
		row.State = machd.StatePaused
	}
}

// canLookInto refuses what has no namespaces on this host. The host itself has
// them without a leader.
func canLookInto(row *machd.MachineOverview, leader *proc.PIDFD) error {
	switch {
	case row.Class == string(machine1.ClassHost):
		return nil
	case row.Class != string(machine1.ClassContainer):
		return machine1.ErrNotSupported
	case leader == nil:
		return unix.ESRCH
	}
	return nil
}

// texts are the addresses, each once.
func texts(addresses []netns.LinkAddress) (list []string) {
	for i, a := range addresses {
		if i == 0 || a.Addr != addresses[i-1].Addr {
			list = append(list, a.Addr.String())
		}
	}
	return list
}

// nameOf is the name of an error on the bus, "" for none. A machine that still
// does not answer somebody else does not answer us either.
func nameOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.EBUSY), errors.Is(err, context.DeadlineExceeded):
		err = machine1.ErrTimeout
	}
	return machine1.ErrorName(err)
}
