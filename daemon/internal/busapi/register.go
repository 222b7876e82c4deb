package busapi

import (
	"context"
	"path"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/registrant"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

func createMachine(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string, scope []machine1.Property) (dbus.ObjectPath, error) {
	return createMachineWithNetwork(ctx, c, a, name, id, service, class, leader, root, nil, scope)
}

func createMachineWithNetwork(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string, ifindices []int32, scope []machine1.Property) (dbus.ObjectPath, error) {
	r, err := registration(name, id, service, class, leader, root, ifindices)
	if err != nil {
		return "", err
	}
	return a.register(ctx, c, r, registrant.Leader{PID: int64(leader)}, a.createWith(scope))
}

func registerMachine(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string) (dbus.ObjectPath, error) {
	return registerMachineWithNetwork(ctx, c, a, name, id, service, class, leader, root, nil)
}

func registerMachineWithNetwork(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string, ifindices []int32) (dbus.ObjectPath, error) {
	r, err := registration(name, id, service, class, leader, root, ifindices)
	if err != nil {
		return "", err
	}
	return a.register(ctx, c, r, registrant.Leader{PID: int64(leader)}, a.asItIs())
}

// registration checks the arguments of the classic methods, in the
// reference's order, and makes of them what needs no look at the system.
//
// Reference: machined-dbus.c, method_create_or_register_machine.
func registration(name string, id []byte, service, class string, leader uint32, root string, ifindices []int32) (machine.Registration, error) {
	r := newRegistration(name)
	r.Service, r.Class, r.RootDirectory = service, machine1.Class(class), root
	if err := checkName(r); err != nil {
		return r, err
	}
	if err := setID(&r, id); err != nil {
		return r, err
	}
	if err := setInterfaces(&r, ifindices); err != nil {
		return r, err
	}
	if err := checkClass(r); err != nil {
		return r, err
	}
	if err := (registrant.Leader{PID: int64(leader)}).Check(); err != nil {
		return r, err
	}
	return r, checkRoot(r)
}

// newRegistration is of a machine of which nothing is known but its name.
func newRegistration(name string) machine.Registration {
	return machine.Registration{Name: name, VSockCID: machine1.VSockCIDAny}
}

func checkName(r machine.Registration) error {
	if !machine1.ValidMachineName(r.Name) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine name")
	}
	return nil
}

// setID takes no bytes for no ID.
func setID(r *machine.Registration, id []byte) error {
	switch len(id) {
	case 0:
		r.ID = [16]byte{}
	case len(r.ID):
		r.ID = [16]byte(id)
	default:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine ID parameter")
	}
	return nil
}

func setInterfaces(r *machine.Registration, ifindices []int32) error {
	for _, i := range ifindices {
		if i <= 0 {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid network interface index %d", i)
		}
	}
	r.NetworkInterfaces = ifindices
	return nil
}

func checkClass(r machine.Registration) error {
	if r.Class != "" && !r.Class.Registrable() {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine class parameter")
	}
	return nil
}

func checkRoot(r machine.Registration) error {
	p := r.RootDirectory
	if p != "" && (!path.IsAbs(p) || len(p) >= unix.PathMax || path.Clean(p) != p) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Root directory must be empty or an absolute path")
	}
	return nil
}

// A recorder makes a machine of a registration that nobody objects to.
type recorder struct {
	create bool // it gets a unit of its own
	record func(context.Context, machine.Registration) (machine.Machine, error)
}

// createWith gives the machine a unit with these properties besides the usual
// ones.
func (a *API) createWith(scope []machine1.Property) recorder {
	return recorder{true, func(ctx context.Context, r machine.Registration) (machine.Machine, error) {
		return a.machines.Create(ctx, r, scope, true)
	}}
}

// asItIs takes the unit that the leader is in.
func (a *API) asItIs() recorder { return recorder{false, a.machines.Register} }

// register finds out who registers what, asks polkit and lets to record it.
func (a *API) register(ctx context.Context, c *vtable.Call, r machine.Registration, leader registrant.Leader, to recorder) (dbus.ObjectPath, error) {
	caller, err := a.callers.BusCaller(ctx, c.Sender)
	if err != nil {
		leader.Process.Close()
		return "", err
	}
	defer caller.Close()

	parties, err := registrant.Pin(caller, leader)
	if err != nil {
		return "", err
	}
	defer parties.Close()
	if err := a.machines.CheckName(ctx, r.Name); err != nil {
		return "", err
	}
	question := registrant.Question(r.Name, r.Class, to.create)
	question.Interactive = c.Interactive
	if err := parties.Authorize(ctx, a.gate, question); err != nil {
		return "", err
	}
	parties.HandOver(&r)
	m, err := to.record(ctx, r)
	if err != nil {
		return "", err
	}
	return machine1.MachinePath(m.Name), nil
}
