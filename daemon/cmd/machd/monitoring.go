package main

import (
	"context"
	"log/slog"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/metrics"
	"github.com/machd/machd/daemon/internal/task"
)

// monitoring returns what answers those who ask for numbers. Machines matter
// more: if nobody can ask, the daemon runs all the same.
func (i instance) monitoring(machines *machine.Manager, log *slog.Logger) task.Task {
	return func(ctx context.Context) error {
		if i.metrics == "" {
			return nil
		}
		l, err := metrics.Listen(i.metrics)
		if err == nil {
			err = metrics.New(machines, version, log).Serve(ctx, l)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("Nobody can ask for metrics.", "error", err)
		}
		return nil
	}
}
