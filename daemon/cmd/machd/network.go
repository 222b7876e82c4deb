package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/doctor"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/pkg/machine1"
)

// askLimit is how long PID 1 or a network manager may take for what a machine's
// network waits for.
const askLimit = 500 * time.Millisecond

// newNetworks returns what gives the machines of the system their networks. It
// asks p which there are.
func newNetworks(p *parts) (*network.Manager, error) {
	return network.New(network.Config{
		Paths:    network.SystemPaths(),
		Guests:   p.guard,
		Machines: func() network.View { return p.machines.View() },
		Active: func(ctx context.Context, name string) (bool, error) {
			ctx, cancel := context.WithTimeout(ctx, askLimit)
			defer cancel()
			over, err := p.units.IsOver(ctx, name)
			return err == nil && !over, err
		},
		Reload:  func(ctx context.Context, service string) { reloadNetworks(ctx, p.conn, service, p.log) },
		Changed: func(name string) { busapi.AnnounceChange(p.server, name) },
		Log:     p.log,
	})
}

// reloadNetworks has a network manager of the host, if it runs, read its files
// again.
func reloadNetworks(ctx context.Context, conn *dbus.Conn, service string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var call *dbus.Call
	switch service {
	case network.Networkd:
		call = conn.Object(service, "/org/freedesktop/network1").
			CallWithContext(ctx, service+".Manager.Reload", dbus.FlagNoAutoStart)
	case network.NetworkManager:
		const configuration = uint32(1)
		call = conn.Object(service, "/org/freedesktop/NetworkManager").
			CallWithContext(ctx, service+".Reload", dbus.FlagNoAutoStart, configuration)
	}
	if call != nil && call.Err != nil {
		log.Debug("A network manager was not told to read its files again.", "service", service, "error", call.Err)
	}
}

// newDoctor returns who tells what is wrong with machines and their networks.
func newDoctor(p *parts) *doctor.Doctor {
	return doctor.New(doctor.Config{
		Machines: func() (list []machine.Machine) {
			for x := range p.machines.View().All() {
				if x.Class != machine1.ClassHost {
					list = append(list, x)
				}
			}
			return list
		},
		Units: p.units, Network: diagnosedNetworks{p.networks}, Paths: doctor.SystemPaths(), Log: p.log,
		LookForImage: func(ctx context.Context, name string) error {
			_, err := p.images.Get(ctx, name)
			return err
		},
	})
}

// diagnosedNetworks are the networks as a doctor asks for them.
type diagnosedNetworks struct{ *network.Manager }

func (n diagnosedNetworks) Attachments() (list []doctor.Attachment) {
	there, _ := n.Networks()
	for _, x := range there {
		mac, _ := net.ParseMAC(x.MAC)
		list = append(list, doctor.Attachment{
			Machine: x.Machine, Kind: x.Kind, Link: x.Link, Port: x.Peer, GuestLink: x.GuestLink,
			Addresses: x.Addresses, Gateways: x.Gateways, MAC: mac, Ports: x.Ports, Inward: x.Inward,
			Managed: x.Managed, By: x.By, Problems: x.Problems,
		})
	}
	return list
}

func (n diagnosedNetworks) Starting() []string {
	_, starting := n.Networks()
	return starting
}

// launchNetworks are the networks as a launcher asks for them.
type launchNetworks struct{ *network.Manager }

// PlanNetwork plans, and reserves when it is told to.
func (n launchNetworks) PlanNetwork(r launch.NetworkRequest) (launch.NetworkPlan, error) {
	plan, err := n.Plan(network.Request{
		Machine: r.Machine, Unit: r.Unit, Options: r.Options, Kind: r.Kind, Shared: r.Shared, Settings: r.Settings,
	})
	if err != nil {
		return launch.NetworkPlan{}, err
	}
	return launch.NetworkPlan{Changes: plan.Changes, Reserve: func() error { return n.Reserve(plan) }}, nil
}
