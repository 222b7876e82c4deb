package inside

import (
	"log/slog"
	"time"
)

// NewImpatientGuard returns a guard that waits only so long, since a test of
// what hangs should not.
func NewImpatientGuard(log *slog.Logger, limit time.Duration) *Guard { return newGuard(log, limit) }

// Going returns how many look-ups go on and how many machines they are in.
func (g *Guard) Going() (lookUps, machines int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lookUps), len(g.lanes)
}

// KeepBindsIn has g remember its mounts in a directory of the test's.
func (g *Guard) KeepBindsIn(dir string) { g.binds.dir = dir }

// ErrandsGoOn returns how many errands have not ended.
func (g *Guard) ErrandsGoOn() (n int) {
	g.errands.mu.Lock()
	defer g.errands.mu.Unlock()
	for _, l := range g.errands.lanes {
		n += len(l.turns)
	}
	return n
}
