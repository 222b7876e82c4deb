package main

import (
	"os"
	"path/filepath"

	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/launch"
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
func newLauncher(p *parts) *launch.Launcher {
	cfg := launch.Config{
		Units: p.units, Machines: p.machines, Images: p.images, Guests: p.guard,
		Dir:  filepath.Join(filepath.Dir(p.self.execDir), "starts"),
		Emit: func(e launch.Event) { busapi.AnnounceStart(p.server, e) },
		Pool: p.self.images.Pool, LockDir: p.self.images.LockDir, Program: program(), Terminals: p.guard,
		Log: p.log,
	}
	if !p.self.user {
		cfg.NspawnDir = nspawnDir
		cfg.Network = launchNetworks{p.networks}
	}
	launcher := launch.New(cfg)
	p.units.Watch(launcher.UnitEvent)
	return launcher
}
