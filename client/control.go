package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// What Kill can send a signal to.
const (
	WhomAll        = "all"        // every process of the machine
	WhomLeader     = "leader"     // the machine's init
	WhomSupervisor = "supervisor" // what runs the machine from outside
)

// signalPowerOff asks systemd, as an init, for an orderly power-off:
// SIGRTMIN+4 of the C library, whose SIGRTMIN is 34.
const signalPowerOff = unix.Signal(38)

// Kill sends a signal to processes of the machine. An empty whom means
// WhomAll.
func (c *Client) Kill(ctx context.Context, name, whom string, signal unix.Signal) error {
	if err := c.tell(ctx, "KillMachine", []any{name, whom, int32(signal)}); err != nil {
		return fmt.Errorf("cannot kill %q: %w", name, err)
	}
	return nil
}

// PowerOff asks the machine's init to shut down and does not wait for it: see
// WatchGone. An init that is not systemd may ignore that.
func (c *Client) PowerOff(ctx context.Context, name string) error {
	if err := c.tell(ctx, "KillMachine", []any{name, WhomLeader, int32(signalPowerOff)}); err != nil {
		return fmt.Errorf("cannot stop %q: %w", name, err)
	}
	return nil
}

// Reboot asks the machine's init to shut down and start again.
func (c *Client) Reboot(ctx context.Context, name string) error {
	if err := c.tell(ctx, "KillMachine", []any{name, WhomLeader, int32(unix.SIGINT)}); err != nil {
		return fmt.Errorf("cannot reboot %q: %w", name, err)
	}
	return nil
}

// Terminate ends the machine without asking its init, by stopping its unit.
func (c *Client) Terminate(ctx context.Context, name string) error {
	if err := c.tell(ctx, "TerminateMachine", []any{name}); err != nil {
		return fmt.Errorf("cannot terminate %q: %w", name, err)
	}
	return nil
}

// A Registration describes a machine that the caller runs.
type Registration struct {
	Name              string
	ID                [16]byte // zero: the machine has none
	Service           string   // the caller's name, such as "my-launcher"
	Class             machine1.Class
	Leader            uint32 // PID on the host; 0 is the caller itself
	RootDirectory     string // "" or an absolute path on the host
	NetworkInterfaces []int32
}

func (r Registration) arguments() []any {
	var id []byte
	if r.ID != [16]byte{} {
		id = r.ID[:]
	}
	return []any{r.Name, id, r.Service, string(r.Class), r.Leader, r.RootDirectory}
}

// Register announces a machine that runs in a unit of its own already. It is
// forgotten when the unit or the leader ends.
func (c *Client) Register(ctx context.Context, r Registration) error {
	member, in := "RegisterMachine", r.arguments()
	if len(r.NetworkInterfaces) > 0 {
		member, in = "RegisterMachineWithNetwork", append(in, r.NetworkInterfaces)
	}
	var path dbus.ObjectPath
	if err := c.tell(ctx, member, in, &path); err != nil {
		return fmt.Errorf("cannot register %q: %w", r.Name, err)
	}
	return nil
}

// Create announces a machine and moves its leader into a new scope unit with
// the given properties. It returns when the scope is there.
func (c *Client) Create(ctx context.Context, r Registration, scope []machine1.Property) error {
	if r.NetworkInterfaces == nil {
		r.NetworkInterfaces = []int32{}
	}
	if scope == nil {
		scope = []machine1.Property{}
	}
	var path dbus.ObjectPath
	if err := c.tell(ctx, "CreateMachineWithNetwork", append(r.arguments(), r.NetworkInterfaces, scope), &path); err != nil {
		return fmt.Errorf("cannot create %q: %w", r.Name, err)
	}
	return nil
}

// Unregister makes the daemon forget the machine, and stops nothing.
func (c *Client) Unregister(ctx context.Context, name string) error {
	if err := c.tell(ctx, "UnregisterMachine", []any{name}); err != nil {
		return fmt.Errorf("cannot unregister %q: %w", name, err)
	}
	return nil
}
