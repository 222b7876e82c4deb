package inside

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxCopies is how many copies from and to one machine go on at a time; more
// wait. Each is up to three threads, which a machine can keep for good.
const maxCopies = 4

// copyLanes are the copies that go on. The zero value has none.
type copyLanes struct {
	mu    sync.Mutex
	lanes map[laneKey]*copyLane
}

// A copyLane is those of one machine.
type copyLane struct {
	turns chan struct{} // holds a token for each that goes on
	stuck chan struct{} // closed once one could not be ended
	users int           // guarded by copyLanes.mu
}

func (c *copyLanes) join(key laneKey) *copyLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lanes[key]
	if l == nil {
		l = &copyLane{turns: make(chan struct{}, maxCopies), stuck: make(chan struct{})}
		if c.lanes == nil {
			c.lanes = map[laneKey]*copyLane{}
		}
		c.lanes[key] = l
	}
	l.users++
	return l
}

func (c *copyLanes) leave(key laneKey, l *copyLane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	if l.users == 0 {
		delete(c.lanes, key)
	}
}

func (c *copyLanes) markStuck(l *copyLane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-l.stuck:
	default:
		close(l.stuck)
	}
}

func (l *copyLane) enter(ctx context.Context) error {
	select {
	case <-l.stuck:
		return ErrBusy
	default:
	}
	select {
	case l.turns <- struct{}{}:
		return nil
	case <-l.stuck:
		return ErrBusy
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runCopy runs do, or drop if it cannot. A copy takes as long as it takes; once
// ctx has ended it has the time of a look-up to end too and to take away what
// is incomplete. Then it is left alone, and as long as it goes on there is no
// other in that machine.
func (g *Guard) runCopy(ctx context.Context, key laneKey, do func(context.Context) error, drop func()) error {
	l := g.copies.join(key)
	if err := l.enter(ctx); err != nil {
		g.copies.leave(key, l)
		drop()
		return err
	}
	done := make(chan error, 1)
	go func() { // outlives us if it is stuck
		err := do(ctx)
		<-l.turns
		g.copies.leave(key, l)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(g.limit):
	}
	g.copies.markStuck(l)
	g.log.Warn("A copy from or to a machine does not end.", "leader", key.pid)
	return fmt.Errorf("the copy does not end (%w): %w", errHangs, context.Cause(ctx))
}
