package doctor

import (
	"context"
	"slices"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// A check looks for one thing that can be wrong with T. It returns what it
// found, and whether there was anything to look at. Its line says how it is
// where nothing was found.
type check[T any] struct {
	name string
	well string
	look func(context.Context, T) (found []finding, applies bool)
}

// hostChecks are of what all machines share, and of what ended ones have left.
var hostChecks = []check[*visit]{}

// quietChecks look at a machine without sending anything.
var quietChecks = []check[*patient]{}

// livelyChecks send packets. They are made where the quiet ones found no error:
// of a link that is down nothing else would be learned.
var livelyChecks = []check[*patient]{}

// examine makes all checks of a machine.
func (p *patient) examine(ctx context.Context, tokens chan struct{}) []finding {
	found := run(ctx, tokens, p, p.Name, quietChecks)
	if slices.ContainsFunc(found, func(f finding) bool { return f.Level == machd.LevelError }) {
		return found
	}
	return append(found, run(ctx, tokens, p, p.Name, livelyChecks)...)
}

// run makes the checks side by side and returns what they found in their order.
// Of one that is not through in time only that is known; it ends by itself.
func run[T any](ctx context.Context, tokens chan struct{}, of T, subject string, checks []check[T]) []finding {
	results := make([]chan []finding, len(checks))
	for i, c := range checks {
		results[i] = make(chan []finding, 1)
		go func() {
			select {
			case tokens <- struct{}{}:
				defer func() { <-tokens }()
				results[i] <- c.result(ctx, of, subject)
			case <-ctx.Done():
			}
		}()
	}
	var list []finding
	for i, c := range checks {
		select {
		case found := <-results[i]:
			list = append(list, found...)
		case <-late(ctx):
			list = append(list, finding{Finding: machd.Finding{
				Check: c.name, Subject: subject, Level: machd.LevelWarning,
				What: "this could not be checked in time",
				Why:  "The host is busy, or something in the kernel or the machine does not answer.",
			}})
		}
	}
	return list
}

// grace is what a check has to tell what it found when its time is over.
const grace = 200 * time.Millisecond

// late is closed a moment after ctx is over.
func late(ctx context.Context) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(c) }) })
	return c
}

func (c check[T]) result(ctx context.Context, of T, subject string) []finding {
	found, applies := c.look(ctx, of)
	if !applies {
		return nil
	}
	for i := range found {
		f := &found[i]
		f.Check = c.name
		if f.Subject == "" {
			f.Subject = subject
		}
		if f.Level == "" {
			f.Level = machd.LevelError
		}
		f.Safe = f.mend != nil
	}
	if len(found) == 0 {
		return []finding{{Finding: machd.Finding{Check: c.name, Subject: subject, Level: machd.LevelOK, What: c.well}}}
	}
	return found
}
