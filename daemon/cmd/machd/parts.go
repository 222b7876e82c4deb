package main

import (
	"context"
	"log/slog"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/daemon/internal/varlinkapi"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// parts are the domain and the two faces on it.
type parts struct {
	machines *machine.Manager
	networks *network.Manager // nil for a user, who cannot set up any
	launcher *launch.Launcher
	server   *vtable.Server
	face     *varlinkapi.API
}

// assemble makes the parts. None is reached yet.
func assemble(ctx context.Context, self instance, conn *dbus.Conn, units *unit.Manager, images *image.Store, guard *inside.Guard,
	sessions *execution.Set, log *slog.Logger, level *slog.LevelVar) (p parts, err error) {
	operations := operation.NewSet()
	cfg := machine.Config{
		Dir:   self.stateDir,
		Units: units,
		User:  self.user,
		Emit: func(e machine.Event) {
			if !e.Added {
				operations.MachineGone(e.Machine.Name)
			}
			busapi.Announce(p.server, e)
			p.face.Announce(e)
			p.launcher.MachineEvent(e)
		},
		Log: log,
	}
	if !self.user {
		view := func() network.View { return p.machines.View() }
		if p.networks, err = newNetworks(conn, units, view, guard, log); err != nil {
			return parts{}, err
		}
		cfg.Network = p.networks
	}
	if p.machines, err = machine.New(cfg); err != nil {
		return parts{}, err
	}
	units.Watch(p.machines.UnitEvent)
	if p.networks != nil {
		units.Watch(p.networks.UnitEvent)
	}
	p.launcher = newLauncher(self, units, &p, images, guard, log)

	authority := auth.New(conn, log)
	gate := access.New(self.authority(authority), p.machines)
	onBus := busapi.Config{
		Machines:   p.machines,
		Images:     images,
		Inside:     guard,
		Launcher:   p.launcher,
		Sessions:   sessions,
		Operations: operations,
		Authority:  authority,
		Access:     gate,
		LogLevel:   level,
	}
	onVarlink := varlinkapi.Config{
		Machines:   p.machines,
		Images:     images,
		Inside:     guard,
		Launcher:   p.launcher,
		Sessions:   sessions,
		Operations: operations,
		Access:     gate,
		LogLevel:   level,
		Version:    version,
		Log:        log,
	}
	if p.networks != nil {
		onBus.Network, onBus.Doctor = p.networks, newDoctor(units, &p, log)
		onVarlink.Network, onVarlink.Doctor = onBus.Network, onBus.Doctor
	}
	if p.server, err = dialServer(ctx, self.bus, log, onBus); err != nil {
		return parts{}, err
	}
	p.face, err = varlinkapi.New(onVarlink)
	return p, err
}

func dialServer(ctx context.Context, address string, log *slog.Logger, cfg busapi.Config) (*vtable.Server, error) {
	return vtable.Dial(ctx, address, vtable.Config{
		Tree:      busapi.New(cfg),
		Log:       log,
		ErrorName: machine1.ErrorName,
		MachineID: proc.MachineID,
	})
}
