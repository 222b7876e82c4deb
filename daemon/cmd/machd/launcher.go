package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/unit"
)

// program returns the path of ours, which stays the same when it is replaced.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// nspawnDir is where the system's systemd-nspawn keeps what it needs at run time.
const nspawnDir = "/run/systemd/nspawn"

// newLauncher returns what starts and ends machines. It has to be told of
// machines that come and go, too. Its signals go to the server that p has by the
// time that there are any.
func newLauncher(self instance, units *unit.Manager, p *parts, images *image.Store, guard *inside.Guard, log *slog.Logger) *launch.Launcher {
	cfg := launch.Config{
		Units: units, Machines: p.machines, Images: images, Guests: guard,
		Dir:  filepath.Join(filepath.Dir(self.execDir), "starts"),
		Emit: func(e launch.Event) { busapi.AnnounceStart(p.server, e) },
		Pool: self.images.Pool, LockDir: self.images.LockDir, Program: program(), Terminals: guard,
		Log: log,
	}
	if !self.user {
		cfg.NspawnDir = nspawnDir
		cfg.Network = launchNetworks{p.networks}
	}
	launcher := launch.New(cfg)
	units.Watch(launcher.UnitEvent)
	return launcher
}
