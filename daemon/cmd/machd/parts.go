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
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/overview"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/daemon/internal/varlinkapi"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// parts are all that the daemon is made of.
type parts struct {
	self  instance
	log   *slog.Logger
	level *slog.LevelVar

	// The seams, and what stands on them alone.
	conn     *dbus.Conn
	units    *unit.Manager
	images   *image.Store
	guard    *inside.Guard
	sessions *execution.Set

	// What assemble adds: the domain, and the two faces on it.
	machines   *machine.Manager
	networks   *network.Manager // nil for a user, who cannot set up any
	launcher   *launch.Launcher
	operations *operation.Set
	server     *vtable.Server
	face       *varlinkapi.API
}

// assemble makes the rest of the parts. None is reached yet.
func (p *parts) assemble(ctx context.Context) (err error) {
	p.operations = operation.NewSet()
	cfg := machine.Config{Dir: p.self.stateDir, Units: p.units, User: p.self.user, Emit: p.announce, Log: p.log}
	if !p.self.user {
		if p.networks, err = newNetworks(p); err != nil {
			return err
		}
		cfg.Network = p.networks
	}
	if p.machines, err = machine.New(cfg); err != nil {
		return err
	}
	p.units.Watch(p.machines.UnitEvent)
	if p.networks != nil {
		p.units.Watch(p.networks.UnitEvent)
	}
	p.launcher = newLauncher(p)
	return p.addFaces(ctx)
}

// announce tells everybody of a machine that comes or goes.
func (p *parts) announce(e machine.Event) {
	if !e.Added {
		p.operations.MachineGone(e.Machine.Name)
	}
	busapi.Announce(p.server, e)
	p.face.Announce(e)
	p.launcher.MachineEvent(e)
}

// addFaces adds the faces to the domain.
func (p *parts) addFaces(ctx context.Context) (err error) {
	authority := auth.New(p.conn, p.log)
	gate := access.New(p.self.authority(authority), p.machines)
	glance := &overview.Viewer{Machines: p.machines, Inside: p.guard}
	if p.networks != nil {
		glance.Networks = p.networks
	}
	maker := imagemaker.New(imagemaker.Config{Units: p.units, Images: p.images, Program: program(), User: p.self.user})
	onBus := busapi.Config{
		Machines:   p.machines,
		Images:     p.images,
		Maker:      maker,
		Inside:     p.guard,
		Launcher:   p.launcher,
		Sessions:   p.sessions,
		Overview:   glance,
		Operations: p.operations,
		Authority:  authority,
		Access:     gate,
		LogLevel:   p.level,
	}
	onVarlink := varlinkapi.Config{
		Machines:   p.machines,
		Images:     p.images,
		Maker:      maker,
		Inside:     p.guard,
		Launcher:   p.launcher,
		Sessions:   p.sessions,
		Overview:   glance,
		Operations: p.operations,
		Access:     gate,
		LogLevel:   p.level,
		Version:    version,
		Log:        p.log,
	}
	if p.networks != nil {
		onBus.Network, onBus.Doctor = p.networks, newDoctor(p)
		onVarlink.Network, onVarlink.Doctor = onBus.Network, onBus.Doctor
	}
	if p.server, err = dialServer(ctx, p.self.bus, p.log, onBus); err != nil {
		return err
	}
	p.face, err = varlinkapi.New(onVarlink)
	return err
}

func dialServer(ctx context.Context, address string, log *slog.Logger, cfg busapi.Config) (*vtable.Server, error) {
	return vtable.Dial(ctx, address, vtable.Config{
		Tree:      busapi.New(cfg),
		Log:       log,
		ErrorName: machine1.ErrorName,
		MachineID: proc.MachineID,
	})
}
