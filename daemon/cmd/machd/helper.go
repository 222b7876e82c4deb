package main

import (
	"context"
	"os"

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
	case throwaway.MakeArgument:
		return true, throwaway.Make(ctx, args[1:])
	case throwaway.RemoveArgument:
		return true, throwaway.RunRemove(ctx, args[1:])
	case throwaway.HoldArgument:
		throwaway.Hold()
		return true, nil
	case payload.Argument:
		os.Exit(payload.Run(args[1:]))
	}
	return false, nil
}
