package varlinkapi

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// mapped are IDs on the side that was asked for.
type mapped struct {
	UID     *uint32 `json:"uid,omitempty"`
	GID     *uint32 `json:"gid,omitempty"`
	Machine string  `json:"machineName,omitempty"`
}

// A kindOfID is what users' IDs and groups' have in common.
type kindOfID struct {
	machine.IDKind
	field             string
	unknown, reserved *varlink.Error
}

var (
	users  = kindOfID{machine.UserID, "uid", errNoSuchUser, errUserInHostRange}
	groups = kindOfID{machine.GroupID, "gid", errNoSuchGroup, errGroupInHostRange}
)

// Reference: machine-varlink.c, vl_method_map_from.
func mapFrom(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	if m.Class != machine1.ClassContainer {
		return nil, errNotSupported
	}
	var answer mapped
	if answer.UID, err = a.outer(ctx, c, m, users); err != nil {
		return nil, err
	}
	answer.GID, err = a.outer(ctx, c, m, groups)
	return answer, err
}

// outer is the host's ID for the one of kind that the caller gave, if it did.
func (a *API) outer(ctx context.Context, c *varlink.Call, m machine.Machine, kind kindOfID) (*uint32, error) {
	if !c.In.Has(kind.field) {
		return nil, nil
	}
	id, err := a.Machines.MapFrom(ctx, m.Name, kind.IDKind, uint32(c.In.Int(kind.field)))
	return &id, kind.named(err)
}

// mapTo wants both IDs to be of one machine.
//
// Reference: machine-varlink.c, vl_method_map_to.
func mapTo(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	var answer mapped
	for _, side := range []struct {
		kindOfID
		answer **uint32
	}{{users, &answer.UID}, {groups, &answer.GID}} {
		if !c.In.Has(side.field) {
			continue
		}
		m, id, err := a.Machines.MapTo(ctx, side.IDKind, uint32(c.In.Int(side.field)))
		if err != nil {
			return nil, side.named(err)
		}
		if answer.Machine != "" && answer.Machine != m.Name {
			return nil, errNoSuchMachine
		}
		*side.answer, answer.Machine = &id, m.Name
	}
	if answer.Machine == "" {
		return nil, errNoSuchMachine
	}
	return answer, nil
}

// named is err by the name it has here.
func (k kindOfID) named(err error) error {
	switch {
	case errors.Is(err, machine.ErrHostRange):
		return k.reserved
	case errors.Is(err, machine.ErrNotContainer):
		return errNotSupported
	case errors.Is(err, machine1.ErrNoSuchUserMapping), errors.Is(err, machine1.ErrNoSuchGroupMapping):
		return k.unknown
	}
	return err
}
