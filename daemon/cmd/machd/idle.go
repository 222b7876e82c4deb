package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

const (
	// idleTime is how long nothing happens before a user's daemon ends; the
	// next who asks has it started again.
	//
	// Reference: constants.h, DEFAULT_EXIT_USEC [259].
	idleTime = 30 * time.Second
	// idleStep is how often it is looked.
	idleStep = 5 * time.Second
)

// errIdle says that there is nothing to do.
var errIdle = errors.New("nobody has asked for anything for a while, and there is no machine")

// A pulse tells how many calls a part has answered in its life, and whether it
// is busy with anything now.
type pulse func() (count uint64, busy bool)

// exitsOnIdle says whether the daemon may end while its manager wants it to
// run. The system's never does: it has to notice machines that end.
func exitsOnIdle(self instance) bool {
	return self.user && os.Getenv("SYSTEMD_EXIT_ON_IDLE") != "0"
}

// startedByBus reports whether who asks on the bus next gets another daemon. For a
// user's daemon that is so since systemd 259: before, one that has ended would be
// started by callers of its socket only. A bus that does not tell has it stay.
func startedByBus(ctx context.Context, conn *dbus.Conn) bool {
	var names []string
	err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.ListActivatableNames", 0).Store(&names)
	return err == nil && slices.Contains(names, machine1.BusName)
}

// watchIdle returns errIdle once nothing has happened for long enough. The
// service manager knows before the name is given up: a start that is asked for
// in between is put off until we have ended, and not lost.
func watchIdle(log *slog.Logger, pulses ...pulse) func(context.Context) error {
	return func(ctx context.Context) error {
		ticker := time.NewTicker(idleStep)
		defer ticker.Stop()
		last, since := uint64(0), time.Now()
		for {
			sum, busy := uint64(0), false
			for _, p := range pulses {
				n, b := p()
				sum, busy = sum+n, busy || b
			}
			switch {
			case busy || sum != last:
				last, since = sum, time.Now()
			case time.Since(since) >= idleTime:
				log.Debug("ending", "reason", errIdle)
				stopping(log)
				return errIdle
			}
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
	}
}
