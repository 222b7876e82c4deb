package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/dissect"
	"github.com/machd/machd/daemon/internal/generator"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/nsexec"
	"github.com/machd/machd/daemon/internal/payload"
	"github.com/machd/machd/daemon/internal/throwaway"
)

// help does what this program is executed for by units and in machines, not by
// users. It says so by its first argument; args are all.
func help(ctx context.Context, args []string) (helped bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case nsexec.ServerArgument:
		return true, serveExec(ctx)
	case nsexec.HelperArgument:
		return true, nsexec.RunHelper()
	case throwaway.MakeArgument:
		return true, throwaway.Make(ctx, args[1:])
	case throwaway.RemoveArgument:
		return true, throwaway.RunRemove(ctx, args[1:])
	case throwaway.HoldArgument:
		throwaway.Hold()
		return true, nil
	case imagemaker.BuildArgument:
		// The unit has it sent for the sake of others. It must end us no sooner
		// than the lock on the name is given back.
		ctx, stop := signal.NotifyContext(ctx, unix.SIGHUP)
		defer stop()
		return true, imagemaker.Build(ctx, image.NewStore(image.SystemConfig()))
	case imagemaker.RemoveArgument:
		return true, image.NewStore(image.SystemConfig()).Sweep(ctx, args[1:]...)
	case imagemaker.UnpackArgument:
		return true, imagemaker.RunUnpack(args[1:])
	case dissect.MountArgument:
		return true, dissect.RunHelper(ctx, args[1:])
	case generator.Argument:
		return true, generator.Run(args[1:])
	case payload.Argument:
		os.Exit(payload.Run(args[1:]))
	}
	return false, nil
}

// serveExec runs commands in machines without a service manager, for the daemon.
func serveExec(ctx context.Context) error {
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("cannot take over the socket: %w", err)
	}
	if len(listeners) == 1 {
		if l, ok := listeners[0].(*net.UnixListener); ok {
			return nsexec.RunServer(ctx, l, newLogger(slog.LevelInfo))
		}
	}
	return errors.New("machd-exec.socket has to start this")
}
