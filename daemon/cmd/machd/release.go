package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/bus"
)

// releaseNetwork takes off what a machd that is not to come again has set up of the
// networks of machines. One that runs would set it up again.
func releaseNetwork(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may take off what is set up of machines' networks")
	}
	log := newLogger(slog.LevelInfo)
	reload := func(context.Context, string) {}
	if conn, err := bus.Dial(ctx, bus.SystemAddress()); err == nil { // no machd runs without it
		defer conn.Close()
		units, err := unit.Connect(ctx, conn, log)
		if err != nil {
			return err
		}
		for _, name := range []string{"machd.service", "machd.socket"} {
			if over, err := units.IsOver(ctx, name); err != nil || !over {
				return errors.Join(err, fmt.Errorf("%s runs, and machines' networks are set up by it; "+
					`"systemctl disable --now machd.socket machd.service" ends it`, name))
			}
		}
		reload = func(ctx context.Context, service string) { reloadNetworks(ctx, conn, service, log) }
	}
	networks, err := network.New(network.Config{Paths: network.SystemPaths(), Reload: reload, Log: log})
	if err != nil {
		return err
	}
	return networks.TakeOff(ctx)
}
