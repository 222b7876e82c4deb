package varlinkapi

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// A record is one machine as List shows it. What is not known is left out.
type record struct {
	Name              string          `json:"name"`
	ID                string          `json:"id,omitempty"`
	Class             machine1.Class  `json:"class"`
	Service           string          `json:"service,omitempty"`
	RootDirectory     string          `json:"rootDirectory,omitempty"`
	Unit              string          `json:"unit,omitempty"`
	Subgroup          string          `json:"subgroup,omitempty"`
	Leader            *processRecord  `json:"leader,omitempty"`
	Supervisor        *processRecord  `json:"supervisor,omitempty"`
	Timestamp         timestampRecord `json:"timestamp"`
	VSockCID          *uint32         `json:"vSockCid,omitempty"`
	SSHAddress        string          `json:"sshAddress,omitempty"`
	SSHPrivateKeyPath string          `json:"sshPrivateKeyPath,omitempty"`
	ControlAddress    string          `json:"controlAddress,omitempty"`
	Addresses         []addressRecord `json:"addresses,omitempty"`
	OSRelease         []string        `json:"OSRelease,omitempty"`
	UIDShift          *uint32         `json:"UIDShift,omitempty"`
	UID               uint32          `json:"UID"`
}

type processRecord struct {
	PID    int    `json:"pid"`
	ID     uint64 `json:"pidfdId,omitempty"`
	BootID string `json:"bootId,omitempty"`
}

type timestampRecord struct {
	Realtime  uint64 `json:"realtime"`
	Monotonic uint64 `json:"monotonic"`
}

type addressRecord struct {
	Index  int32 `json:"ifindex,omitempty"`
	Family int   `json:"family"`
	Bytes  []int `json:"address"`
}

// list answers with the one machine the caller names, or with all.
//
// Reference: machine-varlink.c, vl_method_list.
func list(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	if err := a.mayInspect(ctx, c); err != nil {
		return nil, err
	}
	if c.In.Has("name") || c.In.Has("pid") {
		m, err := a.find(ctx, c)
		if err != nil {
			return nil, err
		}
		return a.describe(ctx, c, m)
	}
	if !c.More {
		return nil, varlink.ErrExpectedMore
	}
	view := a.Machines.View()
	if view.Len() == 0 {
		return nil, errNoSuchMachine
	}
	for m := range view.All() {
		r, err := a.describe(ctx, c, m)
		if err != nil {
			return nil, err
		}
		if err := c.Emit(r); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// mayInspect asks for permission if the caller wants more than what is on
// record: for that, machines have to be looked into.
func (a *API) mayInspect(ctx context.Context, c *varlink.Call) error {
	if !wantsMetadata(c) {
		return nil
	}
	return a.ask(ctx, c, access.Inspect, map[string]string{"name": nameOrNone(c)})
}

// nameOrNone is what polkit is told if the caller asks for all.
func nameOrNone(c *varlink.Call) string {
	if c.In.Has("name") {
		return c.In.String("name")
	}
	return "n/a"
}

func wantsMetadata(c *varlink.Call) bool {
	how := c.In.String("acquireMetadata")
	return how == metadataYes || how == metadataGraceful
}

func (a *API) describe(ctx context.Context, c *varlink.Call, m machine.Machine) (*record, error) {
	r := a.known(m)
	if !wantsMetadata(c) {
		return r, nil
	}
	err := a.addMetadata(ctx, r, m, c.In.String("acquireMetadata") == metadataGraceful)
	return r, err
}

// known is what is on record about m.
func (a *API) known(m machine.Machine) *record {
	r := &record{
		Name:              m.Name,
		Class:             m.Class,
		Service:           m.Service,
		RootDirectory:     m.RootDirectory,
		Unit:              m.Unit,
		Subgroup:          m.Subgroup,
		Leader:            a.processRecord(m.Leader),
		Supervisor:        a.processRecord(m.Supervisor),
		Timestamp:         timestampRecord{m.Realtime, m.Monotonic},
		SSHAddress:        m.SSHAddress,
		SSHPrivateKeyPath: m.SSHPrivateKeyPath,
		ControlAddress:    m.ControlAddress,
		UID:               m.UID,
	}
	if m.ID != [16]byte{} {
		r.ID = hex.EncodeToString(m.ID[:])
	}
	if m.VSockCID != machine1.VSockCIDAny && m.VSockCID != 0 {
		r.VSockCID = &m.VSockCID
	}
	return r
}

func (a *API) processRecord(p *proc.PIDFD) *processRecord {
	if p == nil {
		return nil
	}
	r := &processRecord{PID: p.PID(), ID: p.ID()}
	if r.ID != 0 {
		r.BootID = a.bootID
	}
	return r
}

// addMetadata adds what can be found out by looking into m. The first thing
// that cannot is an error, or if graceful, left out like any other.
func (a *API) addMetadata(ctx context.Context, r *record, m machine.Machine, graceful bool) error {
	leader := m.Leader
	switch {
	case m.Class == machine1.ClassHost:
		leader = nil
	case m.Class == machine1.ClassVM && graceful, leader == nil && graceful:
		return nil
	case m.Class == machine1.ClassVM:
		return errNotAvailable
	case leader == nil:
		return machine1.Errorf(unix.ESRCH, "Machine %s has no leader process", m.Name)
	}
	for _, add := range []func(context.Context, *record, *proc.PIDFD) error{
		a.addAddresses, a.addOSRelease, addUIDShift,
	} {
		if err := add(ctx, r, leader); err != nil && !graceful {
			return err
		}
	}
	return nil
}

func (a *API) addAddresses(ctx context.Context, r *record, leader *proc.PIDFD) error {
	addresses, err := netns.LinkAddresses(ctx, leader, r.Name)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		r.Addresses = append(r.Addresses, addressRecord{address.Index, family(address.Addr), numbers(address.Addr)})
	}
	return nil
}

// family is Linux's number for the family of addr.
func family(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// numbers are the bytes of addr, which JSON has no other form for.
func numbers(addr netip.Addr) []int {
	bytes := addr.AsSlice()
	list := make([]int, len(bytes))
	for i, b := range bytes {
		list[i] = int(b)
	}
	return list
}

func (a *API) addOSRelease(ctx context.Context, r *record, leader *proc.PIDFD) error {
	fields, err := a.Inside.OSReleaseList(ctx, leader)
	if errors.Is(err, machine1.ErrFileNotFound) {
		return errNoOSRelease
	}
	r.OSRelease = assignments(fields)
	return err
}

// assignments are the lines of a file without quotes, in its order. A key that
// is repeated has its last value, in its first place.
func assignments(file envfile.List) []string {
	var lines []string
	place := map[string]int{}
	for _, a := range file {
		line := a.Key + "=" + a.Value
		if i, again := place[a.Key]; again {
			lines[i] = line
			continue
		}
		place[a.Key] = len(lines)
		lines = append(lines, line)
	}
	return lines
}

func addUIDShift(_ context.Context, r *record, leader *proc.PIDFD) error {
	shift := uint32(0)
	if leader != nil {
		var err error
		shift, err = leader.UIDShift()
		if errors.Is(err, proc.ErrComplexMapping) {
			return errNoUIDShift
		}
		if err != nil {
			return err
		}
	}
	r.UIDShift = &shift
	return nil
}
