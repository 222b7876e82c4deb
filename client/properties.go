package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A Machine is what the daemon knows about one. Values that an older daemon
// does not have are zero.
type Machine struct {
	Name              string
	ID                [16]byte // zero if the machine has none
	Class             machine1.Class
	Service           string // what registered it, such as "systemd-nspawn"
	Since             time.Time
	SinceMonotonic    time.Duration // since boot
	Unit, Subgroup    string        // Subgroup is below Unit, "" if the unit is the machine's own
	Leader            uint32        // PID on the host
	LeaderPIDFDID     uint64        // inode of its pidfd, which no other process will have; 0 if unknown
	Supervisor        uint32        // PID of what runs it from outside, 0 if there is none
	SupervisorPIDFDID uint64        // likewise
	RootDirectory     string
	NetworkInterfaces []int32 // interface indices on the host
	VSockCID          uint32  // machine1.VSockCIDAny if unknown
	SSHAddress        string
	SSHPrivateKeyPath string
	State             machine1.State
	UID               uint32 // of the user who registered it
}

// The order in which the daemons send properties, which is the order in which
// people know them; a decoded dictionary has lost it.
var (
	machineOrder = []string{
		"Name", "Id", "Timestamp", "TimestampMonotonic", "Service", "Unit", "Subgroup", "Leader", "LeaderPIDFDId",
		"Supervisor", "SupervisorPIDFDId", "Class", "RootDirectory", "NetworkInterfaces", "VSockCID", "SSHAddress",
		"SSHPrivateKeyPath", "State", "UID",
	}
	imageOrder = []string{
		"Name", "Path", "Type", "ReadOnly", "CreationTimestamp", "ModificationTimestamp", "Usage", "Limit",
		"UsageExclusive", "LimitExclusive",
	}
	managerOrder = []string{"PoolPath", "PoolUsage", "PoolLimit"}
)

// MachineProperties returns every property of a machine, as sent and in the
// server's order.
func (c *Client) MachineProperties(ctx context.Context, name string) ([]machine1.Property, error) {
	// Where the object will be is known, so both questions go at the same time,
	// and that is believed which is about the object that there is.
	path := machine1.MachinePath(name)
	var all map[string]dbus.Variant
	guessed := c.askLater(ctx, bus.Target{Name: machine1.BusName, Path: path}, propertiesGetAll, "", &all)
	found, err := c.find(ctx, "GetMachine", name)
	if err != nil {
		return nil, err
	}
	if err := guessed(); err == nil && found == path {
		return inOrder(all, machineOrder), nil
	}
	return c.propertiesAt(ctx, found, name, machineOrder)
}

// ImageProperties returns every property of an image, as sent and in the
// server's order.
func (c *Client) ImageProperties(ctx context.Context, name string) ([]machine1.Property, error) {
	return c.propertiesOf(ctx, "GetImage", name, imageOrder)
}

// ManagerProperties returns the properties of the daemon itself.
func (c *Client) ManagerProperties(ctx context.Context) ([]machine1.Property, error) {
	properties, err := c.getAll(ctx, machine1.ObjectPath, managerOrder)
	if err != nil {
		return nil, fmt.Errorf("cannot get the properties of the machine manager: %w", err)
	}
	return properties, nil
}

func (c *Client) propertiesOf(ctx context.Context, lookup, name string, order []string) ([]machine1.Property, error) {
	path, err := c.find(ctx, lookup, name)
	if err != nil {
		return nil, err
	}
	return c.propertiesAt(ctx, path, name, order)
}

func (c *Client) find(ctx context.Context, lookup, name string) (path dbus.ObjectPath, err error) {
	if err := c.ask(ctx, lookup, []any{name}, &path); err != nil {
		return "", fmt.Errorf("cannot find %q: %w", name, err)
	}
	return path, nil
}

func (c *Client) propertiesAt(ctx context.Context, path dbus.ObjectPath, name string, order []string) ([]machine1.Property, error) {
	properties, err := c.getAll(ctx, path, order)
	if err != nil {
		return nil, fmt.Errorf("cannot get the properties of %q: %w", name, err)
	}
	return properties, nil
}

func (c *Client) getAll(ctx context.Context, path dbus.ObjectPath, order []string) ([]machine1.Property, error) {
	var all map[string]dbus.Variant
	to := bus.Target{Name: machine1.BusName, Path: path}
	if err := c.call(ctx, to, propertiesGetAll, []any{""}, &all); err != nil {
		return nil, err
	}
	return inOrder(all, order), nil
}

// inOrder puts the properties that order does not know behind the others,
// sorted.
func inOrder(all map[string]dbus.Variant, order []string) []machine1.Property {
	list := make([]machine1.Property, 0, len(all))
	for name, value := range all {
		list = append(list, machine1.Property{Name: name, Value: value})
	}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(list, func(a, b machine1.Property) int {
		return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func machineOf(properties []machine1.Property) Machine {
	var m Machine
	var id []byte
	var since, monotonic uint64
	fields := map[string]any{
		"Name": &m.Name, "Id": &id, "Class": &m.Class, "Service": &m.Service,
		"Timestamp": &since, "TimestampMonotonic": &monotonic,
		"Unit": &m.Unit, "Subgroup": &m.Subgroup, "Leader": &m.Leader, "LeaderPIDFDId": &m.LeaderPIDFDID,
		"Supervisor": &m.Supervisor, "SupervisorPIDFDId": &m.SupervisorPIDFDID,
		"RootDirectory": &m.RootDirectory, "NetworkInterfaces": &m.NetworkInterfaces,
		"VSockCID": &m.VSockCID, "SSHAddress": &m.SSHAddress, "SSHPrivateKeyPath": &m.SSHPrivateKeyPath,
		"State": &m.State, "UID": &m.UID,
	}
	for _, p := range properties {
		if to, ok := fields[p.Name]; ok {
			// A value of another type than ours stays zero: a later daemon's.
			_ = dbus.Store([]any{p.Value.Value()}, to)
		}
	}
	copy(m.ID[:], id)
	m.Since = timeOf(since)
	m.SinceMonotonic = time.Duration(monotonic) * time.Microsecond
	return m
}

// timeOf returns the time of microseconds since the epoch; 0 is no time.
func timeOf(usec uint64) time.Time {
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}
