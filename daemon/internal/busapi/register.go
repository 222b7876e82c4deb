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
	return a.register(ctx, c, r, leader, true, func(r machine.Registration) (machine.Machine, error) {
		return a.machines.Create(ctx, r, scope, true)
	})
}

func registerMachine(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string) (dbus.ObjectPath, error) {
	return registerMachineWithNetwork(ctx, c, a, name, id, service, class, leader, root, nil)
}

func registerMachineWithNetwork(ctx context.Context, c *vtable.Call, a *API, name string, id []byte, service, class string, leader uint32, root string, ifindices []int32) (dbus.ObjectPath, error) {
	r, err := registration(name, id, service, class, leader, root, ifindices)
	if err != nil {
		return "", err
	}
	return a.register(ctx, c, r, leader, false, func(r machine.Registration) (machine.Machine, error) {
		return a.machines.Register(ctx, r)
	})
}

// registration checks the arguments of the classic methods, in the
// reference's order, and makes of them what needs no look at the system.
//
// Reference: machined-dbus.c, method_create_or_register_machine.
func registration(name string, id []byte, service, class string, leader uint32, root string, ifindices []int32) (machine.Registration, error) {
	r := machine.Registration{
		Name:              name,
		Service:           service,
		Class:             machine1.Class(class),
		RootDirectory:     root,
		NetworkInterfaces: ifindices,
		VSockCID:          machine1.VSockCIDAny,
	}
	if !machine1.ValidMachineName(name) {
		return r, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine name")
	}
	switch len(id) {
	case 0:
	case len(r.ID):
		r.ID = [16]byte(id)
	default:
		return r, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine ID parameter")
	}
	for _, i := range ifindices {
		if i <= 0 {
			return r, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid network interface index %d", i)
		}
	}
	if class != "" && !r.Class.Registrable() {
		return r, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine class parameter")
	}
	if err := (registrant.Leader{PID: int64(leader)}).Check(); err != nil {
		return r, err
	}
	if root != "" && !validRoot(root) {
		return r, machine1.Errorf(machine1.ErrInvalidArgs, "Root directory must be empty or an absolute path")
	}
	return r, nil
}

func validRoot(p string) bool {
	return path.IsAbs(p) && len(p) < unix.PathMax && path.Clean(p) == p
}

// register finds out who registers what, asks polkit and lets record do it.
func (a *API) register(ctx context.Context, c *vtable.Call, r machine.Registration, leader uint32, create bool, record func(machine.Registration) (machine.Machine, error)) (dbus.ObjectPath, error) {
	caller, err := a.authority.BusCaller(ctx, c.Sender)
	if err != nil {
		return "", err
	}
	defer caller.Close()

	parties, err := registrant.Pin(caller, registrant.Leader{PID: int64(leader)})
	if err != nil {
		return "", err
	}
	defer parties.Close()
	if err := a.machines.CheckName(ctx, r.Name); err != nil {
		return "", err
	}
	question := registrant.Question(r.Name, r.Class, create)
	question.Interactive = c.Interactive
	if err := parties.Authorize(ctx, a.authority, question); err != nil {
		return "", err
	}
	parties.HandOver(&r)
	m, err := record(r)
	if err != nil {
		return "", err
	}
	return machine1.MachinePath(m.Name), nil
}
