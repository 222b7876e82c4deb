package varlinkapi

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// Reference: machine-varlink.c, vl_method_bind_mount.
func bindMount(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.bind(ctx, c, access.Bind, inside.Bind{ReadOnly: c.In.Bool("readOnly"), MakeDir: c.In.Bool("mkdir")})
}

// bind takes the paths from the call, the rest from b.
func (a *API) bind(ctx context.Context, c *varlink.Call, rule access.Rule, b inside.Bind) error {
	m, err := a.find(ctx, c)
	switch {
	case err != nil:
		return err
	case m.Class != machine1.ClassContainer:
		return errNotSupported
	}
	if b.Source, b.Destination, err = inside.CheckBind(c.In.String("source"), c.In.String("destination")); err != nil {
		return err
	}
	m, err = a.authorize(ctx, c, m, rule, map[string]string{machineDetail(rule): m.Name, "src": b.Source, "dest": b.Destination})
	if err != nil {
		return err
	}
	leader, err := enter(m)
	if err != nil {
		return err
	}
	return unsupported(a.Inside.Bind(ctx, leader, m.Name, b), errNotSupported)
}

// machineDetail returns the detail that says which machine a question about files
// is about. Our own actions have the same one over D-Bus, and their messages
// name it.
//
// Reference: machine-varlink.c, where it is another one than over D-Bus.
func machineDetail(rule access.Rule) string {
	if rule.Action == machine1.ActionManageMachines {
		return "name"
	}
	return "machine"
}

func copyFrom(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.copy(ctx, c, access.Copy, a.Inside.CopyFrom, inside.OwnershipFlat)
}

func copyTo(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.copy(ctx, c, access.Copy, a.Inside.CopyTo, inside.OwnershipFlat)
}

// A copier is inside.Guard's CopyFrom or CopyTo.
type copier func(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error

// copy answers when everything is copied, however long that takes. It ends with
// the machine, and when the caller hangs up.
//
// Reference: machine-varlink.c, vl_method_copy_internal.
func (a *API) copy(ctx context.Context, c *varlink.Call, rule access.Rule, do copier, ownership inside.Ownership) error {
	if a.Operations.Full() {
		return errTooManyCopies
	}
	m, err := a.find(ctx, c)
	switch {
	case err != nil:
		return err
	case m.Class != machine1.ClassContainer:
		return errNotSupported
	}
	what := inside.Copy{Replace: c.In.Bool("replace"), Ownership: ownership}
	if what.Source, what.Destination, err = inside.CheckCopy(c.In.String("source"), c.In.String("destination")); err != nil {
		return err
	}
	m, err = a.authorize(ctx, c, m, rule, map[string]string{machineDetail(rule): m.Name, "src": what.Source, "dest": what.Destination})
	if err != nil {
		return err
	}
	return unsupported(a.whileThere(ctx, m.Name, func(ctx context.Context, leader *proc.PIDFD) error {
		return do(ctx, leader, what)
	}), errNotSupported)
}

// whileThere runs a long operation on the machine called name, which ends with
// it.
func (a *API) whileThere(ctx context.Context, name string, do func(context.Context, *proc.PIDFD) error) error {
	ctx, end, err := a.Operations.Begin(ctx, name)
	if errors.Is(err, operation.ErrTooMany) {
		return errTooManyCopies
	}
	if err != nil {
		return err
	}
	defer end()
	// From here on the machine's end reaches ctx; it may have come before.
	m, ok := a.Machines.View().Get(name)
	if !ok {
		return errNoSuchMachine
	}
	leader, err := enter(m)
	if err != nil {
		return err
	}
	err = do(ctx, leader)
	if err != nil && errors.Is(context.Cause(ctx), operation.ErrMachineGone) {
		return operation.ErrMachineGone
	}
	return err
}
