package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// defaultPatience is how long one machine may take to tell about itself.
const defaultPatience = 3 * time.Second

// A ListedDetail is one machine of an overview. A value whose error is set is
// unknown; ErrTimeout says that the machine did not answer in time.
type ListedDetail struct {
	machine1.ListedMachine
	OSRelease    map[string]string // at least ID, VERSION_ID and PRETTY_NAME, as far as it has them
	OSError      error
	Addresses    []netip.Addr // best first
	AddressError error

	// The rest is zero where it is not known. systemd-machined has to be asked
	// for it: see OverviewQuery.Properties.
	ID                [16]byte
	State             machine1.State // machd.StatePaused as well, if Properties are asked for
	Unit, Subgroup    string
	Leader            uint32 // PID on the host
	Supervisor        uint32
	Since             time.Time
	RootDirectory     string
	UID               uint32  // of the user who registered it
	NetworkInterfaces []int32 // indices on the host

	// These only machd knows.
	Link   string   // of the host, that leads to the machine
	Zone   string   // the network that it shares with others
	Ports  []string // that lead to it, [ADDR:]HOST[:GUEST]/PROTOCOL; both may be ranges
	Inward []string // services of the host that it has, GUEST[:HOST]/PROTOCOL
}

// An OverviewQuery says what an overview is to be of.
type OverviewQuery struct {
	Names      []string      // of machines; if there is none, of all
	Patience   time.Duration // with each machine; 0 is 3 s
	Properties bool          // tell of ID to NetworkInterfaces, even if each machine has to be asked for it
}

// Machines returns the machines there are with what each has to be asked for,
// sorted by name. machd is asked once, and systemd-machined about each machine,
// all at the same time. A machine that does not answer costs its own values
// only, and one that is not there is not in the list. No question asks the user
// for a password.
//
// Reference: docs/api.md, ListOverview.
func (c *Client) Machines(ctx context.Context, q OverviewQuery) ([]ListedDetail, error) {
	if q.Patience <= 0 {
		q.Patience = defaultPatience
	}
	var rows []machd.MachineOverview
	options := machd.OverviewOptions{Patience: q.Patience, Paused: q.Properties}.Variants()
	err := throughRestart(ctx, func() error {
		return c.Silent().call(ctx, machined, machd.ManagerInterface+".ListOverview", []any{slices.Concat([]string{}, q.Names), options}, &rows)
	})
	switch {
	case err == nil:
		return detailsOf(rows), nil
	case errors.Is(err, machine1.ErrUnknownMethod), errors.Is(err, machine1.ErrUnknownInterface), errors.Is(err, machine1.ErrAccessDenied):
		// It is systemd-machined, or a machd that is older than we are.
		return c.machinesOneByOne(ctx, q)
	}
	return nil, fmt.Errorf("cannot list machines: %w", err)
}

func detailsOf(rows []machd.MachineOverview) []ListedDetail {
	details := make([]ListedDetail, len(rows))
	for i := range rows {
		details[i] = detailOf(&rows[i])
	}
	slices.SortFunc(details, func(a, b ListedDetail) int { return strings.Compare(a.Name, b.Name) })
	return details
}

func detailOf(r *machd.MachineOverview) ListedDetail {
	d := ListedDetail{
		ListedMachine: machine1.ListedMachine{Name: r.Name, Class: r.Class, Service: r.Service, Path: machine1.MachinePath(r.Name)},
		OSError:       namedError(r.OSError), AddressError: namedError(r.AddressError),
		ID: idOf(r.ID), State: machine1.State(r.State), Unit: r.Unit, Subgroup: r.Subgroup, Leader: r.Leader, Supervisor: r.Supervisor,
		Since: timeOf(r.Since), RootDirectory: r.RootDirectory, UID: r.UID, NetworkInterfaces: r.Interfaces,
		Link: r.Link, Zone: r.Zone, Ports: r.Ports, Inward: r.Inward,
	}
	if d.OSError == nil {
		d.OSRelease = map[string]string{"ID": r.OSID, "VERSION_ID": r.OSVersion, "PRETTY_NAME": r.OSName}
	}
	for _, text := range r.Addresses {
		if addr, err := netip.ParseAddr(text); err == nil {
			d.Addresses = append(d.Addresses, addr)
		}
	}
	return d
}

// idOf reads a machine ID, which is zero if it is none.
func idOf(text string) (id [16]byte) {
	if len(text) == hex.EncodedLen(len(id)) {
		_, _ = hex.Decode(id[:], []byte(text))
	}
	return id
}

// namedError is the error of a name on the bus, nil for none.
func namedError(name string) error {
	if name == "" {
		return nil
	}
	return &machine1.RemoteError{Name: name}
}
