package varlinkapi

import (
	"context"
	"sync"

	"github.com/machd/machd/daemon/internal/machine"
)

// maxChanges is how far a follower may fall behind, in events.
const maxChanges = 4096

// changes is the log of what happened to machines. However many follow it, and
// however slowly, it is kept once, and only while somebody follows.
type changes struct {
	mu        sync.Mutex
	followers int
	view      *machine.View   // the machines after the last event
	log       []machine.Event // the last ones, by number modulo maxChanges
	count     uint64          // events so far: the number of the next one
	grown     chan struct{}   // closed once there is another event; nil if nobody waits
}

// add takes note of e, after which the machines are view. It does not block.
func (c *changes) add(e machine.Event, view *machine.View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view = view
	if c.followers > 0 {
		if i := int(c.count % maxChanges); i < len(c.log) {
			c.log[i] = e
		} else {
			c.log = append(c.log, e)
		}
	}
	c.count++
	if c.grown != nil {
		close(c.grown)
		c.grown = nil
	}
}

// follow returns a follower of what comes after view, the machines of this
// moment. It is to be closed.
func (c *changes) follow() *follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.followers == 0 {
		// The log begins now, and with it the numbers.
		c.count, c.log = 0, nil
	}
	c.followers++
	return &follower{changes: c, view: c.view, next: c.count}
}

// A follower reads the log of changes at its own pace.
type follower struct {
	*changes
	view *machine.View
	next uint64 // the number of the event to read next
}

func (f *follower) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers--; f.followers == 0 {
		f.log = nil
	}
}

// events returns some of the events that have come since the last call, at
// least one; it waits for it. errTooSlow says that there were more than the
// log can hold.
func (f *follower) events(ctx context.Context) ([]machine.Event, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count-f.next > maxChanges {
		return nil, errTooSlow
	}
	const batch = 64 // so that mu is not held for long
	var events []machine.Event
	for f.next < f.count && len(events) < batch {
		events = append(events, f.log[f.next%maxChanges])
		f.next++
	}
	return events, nil
}

// latest waits until the machines are others than at the last call, and returns
// them. It never falls behind.
func (f *follower) latest(ctx context.Context) (*machine.View, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = f.count
	return f.changes.view, nil
}

// wait waits until there is an event to read.
func (f *follower) wait(ctx context.Context) error {
	f.mu.Lock()
	if f.next < f.count {
		f.mu.Unlock()
		return nil
	}
	if f.grown == nil {
		f.grown = make(chan struct{})
	}
	grown := f.grown
	f.mu.Unlock()
	select {
	case <-grown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
