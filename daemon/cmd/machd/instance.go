package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/metrics"
	"github.com/machd/machd/daemon/internal/nsexec"
	"github.com/machd/machd/daemon/internal/varlinkapi"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// An instance is whose machines this daemon knows: the system's, or those of
// one user's own service manager.
type instance struct {
	user     bool
	bus      string // address of the bus with us and the service manager on it
	stateDir string
	execDir  string // what is known of the commands that run in machines
	enterer  execution.Enterer
	images   image.Config
	sockets  varlinkapi.Paths
	metrics  string // socket where monitoring asks, "" for none
}

func systemInstance() instance {
	return instance{
		bus:      bus.SystemAddress(),
		stateDir: machine1.StateDir,
		execDir:  "/run/machd/exec",
		enterer:  nsexec.Client{Path: nsexec.Socket},
		images:   image.SystemConfig(),
		sockets:  varlinkapi.SystemPaths(),
		metrics:  metrics.Path,
	}
}

// userInstance is that of the user we run as.
//
// Reference: machined.c and machined-core.c, the user's runtime scope [259].
func userInstance() (instance, error) {
	runtimeDir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtimeDir) {
		return instance{}, errors.New("cannot run for a user: $XDG_RUNTIME_DIR is no absolute path; " +
			`"systemctl --user start machd" starts it with all it needs`)
	}
	address, err := bus.UserAddress()
	if err != nil {
		return instance{}, err
	}
	images, err := image.UserConfig()
	if err != nil {
		return instance{}, err
	}
	return instance{
		user:     true,
		bus:      address,
		stateDir: filepath.Join(runtimeDir, "systemd/machines"),
		execDir:  filepath.Join(runtimeDir, "machd/exec"),
		images:   images,
		sockets:  varlinkapi.UserPaths(runtimeDir),
	}, nil
}

// guard returns what reaches into machines.
func (i instance) guard(log *slog.Logger) *inside.Guard {
	if i.user {
		return inside.NewUserGuard(log)
	}
	return inside.NewGuard(log)
}

// authority returns who is asked whether somebody may do something.
func (i instance) authority(polkit *auth.Authority) access.Authority {
	if i.user {
		return auth.Private{Own: []string{machine1.ActionCreateMachine, machine1.ActionRegisterMachine}}
	}
	return polkit
}
