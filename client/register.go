package client

import (
	"context"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A Registration describes a machine that the caller runs. What is below the
// empty line takes machd, or systemd-machined 259; an older one answers
// ErrUnknownMethod.
type Registration struct {
	Name              string
	ID                [16]byte // zero: the machine has none
	Service           string   // the caller's name, such as "my-launcher"
	Class             machine1.Class
	Leader            uint32 // PID on the host; 0 is the caller itself
	RootDirectory     string // "" or an absolute path on the host
	NetworkInterfaces []int32

	LeaderFD          *os.File // pidfd of the leader, or nil; it stays the caller's
	VSockCID          uint32   // 0: it has none, or nobody knows it
	SSHAddress        string   // as ssh(1) takes it, such as "vsock/4711"
	SSHPrivateKeyPath string   // absolute path on the host
}

// Register announces a machine that runs in a unit of its own already. It is
// forgotten when the unit or the leader ends. ErrMachineExists says that the
// name is taken.
//
// Reference: org.freedesktop.machine1(5), RegisterMachine,
// RegisterMachineWithNetwork and RegisterMachineEx.
func (c *Client) Register(ctx context.Context, r Registration) error {
	member, in := "RegisterMachine", r.arguments()
	switch {
	case r.extended():
		properties, done, err := r.properties()
		if err != nil {
			return fmt.Errorf("cannot register %q: %w", r.Name, err)
		}
		defer done()
		member, in = "RegisterMachineEx", []any{r.Name, properties}
	case len(r.NetworkInterfaces) > 0:
		member, in = "RegisterMachineWithNetwork", append(in, r.NetworkInterfaces)
	}
	var path dbus.ObjectPath
	if err := c.tell(ctx, member, in, &path); err != nil {
		return fmt.Errorf("cannot register %q: %w", r.Name, err)
	}
	return nil
}

// RegisterInScope announces a machine and moves its leader into a new scope
// unit with the given properties, which has the name that machine1.ScopeName
// tells. It returns when the scope is there. The machine is forgotten when the
// scope ends.
//
// Reference: org.freedesktop.machine1(5), CreateMachineWithNetwork and
// CreateMachineEx.
func (c *Client) RegisterInScope(ctx context.Context, r Registration, scope []machine1.Property) error {
	if r.NetworkInterfaces == nil {
		r.NetworkInterfaces = []int32{}
	}
	if scope == nil {
		scope = []machine1.Property{}
	}
	member, in := "CreateMachineWithNetwork", append(r.arguments(), r.NetworkInterfaces, scope)
	if r.extended() {
		properties, done, err := r.properties()
		if err != nil {
			return fmt.Errorf("cannot register %q: %w", r.Name, err)
		}
		defer done()
		member, in = "CreateMachineEx", []any{r.Name, properties, scope}
	}
	var path dbus.ObjectPath
	if err := c.tell(ctx, member, in, &path); err != nil {
		return fmt.Errorf("cannot register %q: %w", r.Name, err)
	}
	return nil
}

// Unregister makes the daemon forget the machine, and stops nothing.
//
// Reference: org.freedesktop.machine1(5), UnregisterMachine.
func (c *Client) Unregister(ctx context.Context, name string) error {
	if err := c.tell(ctx, "UnregisterMachine", []any{name}); err != nil {
		return fmt.Errorf("cannot unregister %q: %w", name, err)
	}
	return nil
}

func (r Registration) arguments() []any {
	return []any{r.Name, r.id(), r.Service, string(r.Class), r.Leader, r.RootDirectory}
}

func (r Registration) id() []byte {
	if r.ID == [16]byte{} {
		return []byte{}
	}
	return r.ID[:]
}

// extended reports whether r says what only the newer methods take.
func (r Registration) extended() bool {
	return r.LeaderFD != nil || r.VSockCID != 0 || r.SSHAddress != "" || r.SSHPrivateKeyPath != ""
}

// properties is r as the newer methods take it, which want a process by its
// pidfd. What it opens for that, done closes.
func (r Registration) properties() (properties []machine1.Property, done func(), err error) {
	add := func(name string, value any) {
		properties = append(properties, machine1.Property{Name: name, Value: dbus.MakeVariant(value)})
	}
	done = func() {}
	add("Id", r.id())
	add("Service", r.Service)
	add("Class", string(r.Class))
	add("RootDirectory", r.RootDirectory)
	add("NetworkInterfaces", append([]int32{}, r.NetworkInterfaces...))
	if r.VSockCID != 0 {
		add("VSockCID", r.VSockCID)
	}
	if r.SSHAddress != "" {
		add("SSHAddress", r.SSHAddress)
	}
	if r.SSHPrivateKeyPath != "" {
		add("SSHPrivateKeyPath", r.SSHPrivateKeyPath)
	}
	switch {
	case r.LeaderFD != nil:
		fd, err := passable(r.LeaderFD)
		if err != nil {
			return nil, nil, err
		}
		add("LeaderPIDFD", fd)
	case r.Leader != 0:
		fd, err := unix.PidfdOpen(int(r.Leader), 0)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot open process %d: %w", r.Leader, err)
		}
		add("LeaderPIDFD", dbus.UnixFD(fd))
		done = func() { unix.Close(fd) }
	}
	if r.LeaderFD != nil && r.Leader != 0 {
		add("LeaderPID", r.Leader)
	}
	return properties, done, nil
}
