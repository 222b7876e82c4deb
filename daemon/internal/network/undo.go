package network

import "log/slog"

// undo is what takes back what was done, the last first.
type undo []func() error

func (u *undo) add(step func() error) { *u = append(*u, step) }

func (u *undo) run(log *slog.Logger) {
	for i := len(*u) - 1; i >= 0; i-- {
		if err := (*u)[i](); err != nil {
			log.Warn("Part of a network cannot be taken back.", "error", err)
		}
	}
	*u = nil
}
