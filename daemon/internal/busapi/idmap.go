package busapi

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

func mapFromMachineUser(ctx context.Context, _ *vtable.Call, a *API, name string, inner uint32) (uint32, error) {
	return a.machines.MapFrom(ctx, name, machine.UserID, inner)
}

func mapFromMachineGroup(ctx context.Context, _ *vtable.Call, a *API, name string, inner uint32) (uint32, error) {
	return a.machines.MapFrom(ctx, name, machine.GroupID, inner)
}

func mapToMachineUser(ctx context.Context, _ *vtable.Call, a *API, outer uint32) (string, dbus.ObjectPath, uint32, error) {
	return a.mapTo(ctx, machine.UserID, outer)
}

func mapToMachineGroup(ctx context.Context, _ *vtable.Call, a *API, outer uint32) (string, dbus.ObjectPath, uint32, error) {
	return a.mapTo(ctx, machine.GroupID, outer)
}

func (a *API) mapTo(ctx context.Context, kind machine.IDKind, outer uint32) (string, dbus.ObjectPath, uint32, error) {
	m, inner, err := a.machines.MapTo(ctx, kind, outer)
	if err != nil {
		return "", "", 0, err
	}
	return m.Name, machine1.MachinePath(m.Name), inner, nil
}
