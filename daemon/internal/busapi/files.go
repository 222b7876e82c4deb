package busapi

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// copyReplace is the one flag that copies know.
const copyReplace = 1 << 0

func bindMount(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, readOnly, makeDir bool) error {
	if err := o.mayBind(); err != nil {
		return err
	}
	return o.bind(ctx, c, access.Bind, inside.Bind{Source: source, Destination: destination, ReadOnly: readOnly, MakeDir: makeDir})
}

func copyFrom(ctx context.Context, c *vtable.Call, o machineObject, source, destination string) error {
	return copyFromWithFlags(ctx, c, o, source, destination, 0)
}

func copyTo(ctx context.Context, c *vtable.Call, o machineObject, source, destination string) error {
	return copyToWithFlags(ctx, c, o, source, destination, 0)
}

func copyFromWithFlags(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, flags uint64) error {
	return o.copyWithFlags(ctx, c, o.api.inside.CopyFrom, source, destination, flags)
}

func copyToWithFlags(ctx context.Context, c *vtable.Call, o machineObject, source, destination string, flags uint64) error {
	return o.copyWithFlags(ctx, c, o.api.inside.CopyTo, source, destination, flags)
}

func (o machineObject) mayBind() error {
	return onlyContainer(*o.machine, "Bind mounting is only supported on container machines.")
}

// bind shows a directory or file of the host in the machine.
//
// Reference: machine-dbus.c, bus_machine_method_bind_mount.
func (o machineObject) bind(ctx context.Context, c *vtable.Call, rule access.Rule, b inside.Bind) error {
	var err error
	if b.Source, b.Destination, err = inside.CheckBind(b.Source, b.Destination); err != nil {
		return err
	}
	m, err := o.ask(ctx, c, rule, map[string]string{"src": b.Source, "dest": b.Destination})
	if err != nil {
		return err
	}
	leader, err := enter(m, "")
	if err != nil {
		return err
	}
	return o.api.inside.Bind(ctx, leader, m.Name, b)
}

// A copier is inside.Guard's CopyFrom or CopyTo.
type copier func(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error

func (o machineObject) copyWithFlags(ctx context.Context, c *vtable.Call, do copier, source, destination string, flags uint64) error {
	if err := o.mayCopy(); err != nil {
		return err
	}
	if rest := flags &^ copyReplace; rest != 0 {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Unknown flags %#x", rest)
	}
	return o.copy(ctx, c, access.Copy, do, inside.Copy{
		Source: source, Destination: destination, Replace: flags&copyReplace != 0, Ownership: inside.OwnershipFlat,
	})
}

// mayCopy says what makes looking at the arguments pointless.
func (o machineObject) mayCopy() error {
	if o.api.operations.Full() {
		return machine1.Errorf(machine1.ErrLimitsExceeded, "Too many ongoing copies.")
	}
	return onlyContainer(*o.machine, "Copying files is only supported on container machines.")
}

// copy answers when everything is copied, however long that takes; the answer
// is an error once the machine has gone.
//
// Reference: machine-dbus.c, bus_machine_method_copy.
func (o machineObject) copy(ctx context.Context, c *vtable.Call, rule access.Rule, do copier, what inside.Copy) error {
	var err error
	if what.Source, what.Destination, err = inside.CheckCopy(what.Source, what.Destination); err != nil {
		return err
	}
	m, err := o.ask(ctx, c, rule, map[string]string{"src": what.Source, "dest": what.Destination})
	if err != nil {
		return err
	}
	return o.api.whileThere(ctx, m, func(ctx context.Context, leader *proc.PIDFD) error { return do(ctx, leader, what) })
}

// whileThere runs a long operation on m, which ends with m.
func (a *API) whileThere(ctx context.Context, m machine.Machine, do func(context.Context, *proc.PIDFD) error) error {
	ctx, end, err := a.operations.Begin(ctx, m.Name)
	if err != nil {
		return err
	}
	defer end()
	// From here on its end reaches ctx; it may have come before.
	now, err := a.find(m.Name)
	if err != nil {
		return err
	}
	leader, err := enter(*now, "")
	if err != nil {
		return err
	}
	err = do(ctx, leader)
	if err != nil && errors.Is(context.Cause(ctx), operation.ErrMachineGone) {
		return operation.ErrMachineGone
	}
	return err
}

// onlyContainer refuses the host and VMs, with the text that says so.
func onlyContainer(m machine.Machine, refusal string) error {
	if m.Class != machine1.ClassContainer {
		return machine1.Errorf(machine1.ErrNotSupported, "%s", refusal)
	}
	return nil
}
