package client

import (
	"context"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// A LastRun is the last time that a unit for a machine was started, with or
// without success.
type LastRun struct {
	Invocation string    // selects its log lines, hexadecimal; "" if there was none
	Until      time.Time // when the last of them was written
}

// FindLastRun returns the last run of the units that machines called o.Name are
// started as, as far back as the journal goes. A start that failed before there
// was a machine leaves no other traces.
func FindLastRun(ctx context.Context, o HistoryOptions) (LastRun, error) {
	unitFlag := "--unit"
	if o.User {
		unitFlag = "--user-unit"
	}
	args := []string{o.scope(), "--lines=1", "--output-fields=_SYSTEMD_INVOCATION_ID,INVOCATION_ID,USER_INVOCATION_ID"}
	for _, unit := range []string{"machine-" + machine1.EscapeUnit(o.Name) + ".service", machine1.ServiceUnit(o.Name)} {
		args = append(args, unitFlag, unit)
	}
	for e, err := range journal(ctx, args...) {
		if err != nil {
			return LastRun{}, err
		}
		run := LastRun{Until: e.when()}
		// What the service manager says of the unit has its own run in the first.
		for _, field := range []string{"INVOCATION_ID", "USER_INVOCATION_ID", "_SYSTEMD_INVOCATION_ID"} {
			if e[field] != "" {
				run.Invocation = e[field]
				return run, nil
			}
		}
		return run, nil
	}
	return LastRun{}, nil
}
