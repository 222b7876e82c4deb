package busapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/registrant"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

func createMachineEx(ctx context.Context, c *vtable.Call, a *API, name string, properties, scope []machine1.Property) (dbus.ObjectPath, error) {
	return a.registerEx(ctx, c, name, properties, a.createWith(scope))
}

func registerMachineEx(ctx context.Context, c *vtable.Call, a *API, name string, properties []machine1.Property) (dbus.ObjectPath, error) {
	return a.registerEx(ctx, c, name, properties, a.asItIs())
}

// registerEx asks whether the name is free before it looks at any process, the
// other way round than the classic methods.
//
// Reference: machined-dbus.c, method_create_or_register_machine_ex [259].
func (a *API) registerEx(ctx context.Context, c *vtable.Call, name string, properties []machine1.Property, to recorder) (dbus.ObjectPath, error) {
	r, leader, err := registrationEx(name, properties)
	if err != nil {
		return "", err
	}
	if err := a.machines.CheckName(ctx, r.Name); err != nil {
		return "", err
	}
	process, err := leader.pin(c.TakeFD)
	if err != nil {
		return "", err
	}
	return a.register(ctx, c, r, process, to)
}

// registrationEx makes of properties what needs no look at the system. Of a
// property that is there twice, the last one counts.
func registrationEx(name string, properties []machine1.Property) (machine.Registration, leaderEx, error) {
	r, leader := newRegistration(name), leaderEx{fd: -1}
	if err := checkName(r); err != nil {
		return r, leader, err
	}
	for _, p := range properties {
		set, ok := propertiesEx[p.Name]
		if !ok {
			return r, leader, machine1.Errorf(machine1.ErrInvalidArgs, "Unknown property '%s'", p.Name)
		}
		if err := set(&r, &leader, p); err != nil {
			return r, leader, err
		}
	}
	if err := checkClass(r); err != nil {
		return r, leader, err
	}
	if err := checkRoot(r); err != nil {
		return r, leader, err
	}
	return r, leader, leader.check()
}

// A setterEx takes over one property.
type setterEx func(*machine.Registration, *leaderEx, machine1.Property) error

// propertiesEx are the properties that there are.
//
// Reference: machined-dbus.c, method_create_or_register_machine_ex [259].
var propertiesEx = map[string]setterEx{
	"Id": typed(func(r *machine.Registration, _ *leaderEx, id []byte) error { return setID(r, id) }),
	"Service": typed(func(r *machine.Registration, _ *leaderEx, s string) error {
		r.Service = s
		return nil
	}),
	"Class": typed(func(r *machine.Registration, _ *leaderEx, s string) error {
		r.Class = machine1.Class(s)
		return nil
	}),
	"LeaderPID": typed(func(_ *machine.Registration, l *leaderEx, pid uint32) error {
		l.pid = &pid
		return registrant.Leader{PID: int64(pid)}.Check()
	}),
	"LeaderPIDFD": typed(func(_ *machine.Registration, l *leaderEx, fd dbus.UnixFD) error {
		l.fd = fd
		return nil
	}),
	"LeaderPIDFDID": typed(func(_ *machine.Registration, l *leaderEx, id uint64) error {
		l.id = &id
		if id == 0 {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid leader PIDFD ID")
		}
		return nil
	}),
	"RootDirectory": typed(func(r *machine.Registration, _ *leaderEx, s string) error {
		r.RootDirectory = s
		return nil
	}),
	"NetworkInterfaces": typed(func(r *machine.Registration, _ *leaderEx, i []int32) error { return setInterfaces(r, i) }),
	"VSockCID":          typed(setVSockCID),
	"SSHAddress": typed(func(r *machine.Registration, _ *leaderEx, s string) error {
		r.SSHAddress = s
		return nil
	}),
	"SSHPrivateKeyPath": typed(func(r *machine.Registration, _ *leaderEx, s string) error {
		r.SSHPrivateKeyPath = s
		return nil
	}),
}

// typed refuses a property whose value is of another type than V.
func typed[V any](set func(*machine.Registration, *leaderEx, V) error) setterEx {
	return func(r *machine.Registration, l *leaderEx, p machine1.Property) error {
		v, ok := p.Value.Value().(V)
		if !ok {
			return machine1.Errorf(machine1.ErrInvalidArgs, "Property '%s' is of type '%s', not '%s'",
				p.Name, p.Value.Signature(), dbus.SignatureOf(v))
		}
		return set(r, l, v)
	}
}

// The CIDs 0 to 2 are the hypervisor's, the host's and the loopback's.
const firstRegularCID = 3

func setVSockCID(r *machine.Registration, _ *leaderEx, cid uint32) error {
	if cid < firstRegularCID || cid == machine1.VSockCIDAny {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid VSock CID %d", cid)
	}
	r.VSockCID = cid
	return nil
}

// leaderEx is what properties say about the leader.
type leaderEx struct {
	pid *uint32
	id  *uint64
	fd  dbus.UnixFD // -1 for none
}

// check insists on a process that cannot be mistaken for another one. If
// nothing is said, the caller is the leader.
func (l leaderEx) check() error {
	if l.fd < 0 && (l.pid == nil) != (l.id == nil) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "LeaderPID and LeaderPIDFDID are only valid together")
	}
	return nil
}

// pin opens the descriptor, which take makes ours.
func (l leaderEx) pin(take func(dbus.UnixFD) int) (registrant.Leader, error) {
	var leader registrant.Leader
	if l.pid != nil {
		leader.PID = int64(*l.pid)
	}
	if l.id != nil {
		leader.ID = *l.id
	}
	if l.fd < 0 {
		return leader, nil
	}
	fd := take(l.fd)
	if fd < 0 {
		return leader, machine1.Errorf(machine1.ErrInvalidArgs, "The descriptor of LeaderPIDFD did not come with the call")
	}
	process, err := proc.FromFD(fd)
	if errors.Is(err, unix.EBADF) {
		return leader, machine1.Errorf(machine1.ErrInvalidArgs, "LeaderPIDFD does not stand for a process: %v", err)
	}
	if err != nil {
		return leader, fmt.Errorf("cannot use LeaderPIDFD: %w", err)
	}
	leader.Process = process
	return leader, nil
}
