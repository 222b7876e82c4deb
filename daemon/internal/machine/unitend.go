package machine

import (
	"context"
	"path"
	"sync"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
)

// A unitEnd is what PID 1 has said of how a unit ended.
type unitEnd struct {
	result       string
	code, status int32
	invocation   string
}

// unitEnds keep what PID 1 says of the ends of machines' units. It says so by
// signals only: a unit may be forgotten with its end. They may come before the
// machine is known to be over, and after.
type unitEnds struct {
	mu     sync.Mutex
	byUnit map[string]*awaitedEnd
}

// An awaitedEnd is one of them. A nil one never tells anything.
type awaitedEnd struct {
	of   *unitEnds
	unit string
	over chan struct{} // closed once the unit has ended
	wait time.Duration // for that

	// The rest is under of.mu.
	end      unitEnd
	isOver   bool
	awaiting int // by how many who have found the machine over
}

// take notes what e tells. followed reports whether the unit's end is that of a
// machine; of others nothing is kept, and of a unit that runs there is nothing
// to keep.
func (u *unitEnds) take(e unit.Event, followed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.byUnit[e.Unit]
	c := e.Change
	if a == nil {
		failed := c.Result != "" && c.Result != "success"
		if !followed || c.Code == 0 && !failed {
			return
		}
		a = u.add(e.Unit)
	}
	switch {
	case e.Kind == unit.UnitRemoved:
		a.close()
	case c.Result != "":
		a.end.result, a.end.code, a.end.status = c.Result, c.Code, c.Status
	case c.State != "":
		a.end.invocation = c.Invocation
		a.settle(c.State)
	}
}

// add has u.mu held.
func (u *unitEnds) add(name string) *awaitedEnd {
	if u.byUnit == nil {
		u.byUnit = map[string]*awaitedEnd{}
	}
	a := &awaitedEnd{of: u, unit: name, over: make(chan struct{})}
	u.byUnit[name] = a
	return a
}

// settle takes note of the unit's state, with of.mu held. A service without the
// machine that it had is activating again: it is to be started anew.
func (a *awaitedEnd) settle(state string) {
	switch {
	case state == "inactive", state == "failed", state == "activating" && (a.awaiting > 0 || a.end.code != 0):
		a.close()
	case a.awaiting > 0 || a.end.code != 0:
	default:
		// It went on after all.
		delete(a.of.byUnit, a.unit)
	}
}

func (a *awaitedEnd) close() {
	if !a.isOver {
		a.isOver = true
		close(a.over)
	}
}

// await returns what is told of the end of the unit of a machine that is about
// to be over, from before this call and after it. It is nil if the unit says
// nothing about the machine, or nothing that the machine's leader does not. Call
// forget when done.
func (u *unitEnds) await(m Machine) *awaitedEnd {
	wait := ownUnitTimeout
	switch {
	case m.sharesUnit():
		wait = sharedUnitTimeout
	case !m.OwnsUnit():
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.byUnit[m.Unit]
	switch {
	case a != nil:
	case path.Ext(m.Unit) == ".service":
		a = u.add(m.Unit)
	default:
		// A scope whose processes have ended has ended well.
		return nil
	}
	a.wait = wait
	a.awaiting++
	return a
}

// How long the unit of a machine that is over may take until it has ended too.
// A supervisor needs milliseconds; a unit with other processes in it may go on
// for ever.
const (
	ownUnitTimeout    = 10 * time.Second
	sharedUnitTimeout = 2 * time.Second
)

// get waits for the end of the unit. What it returns is empty if that does not
// come in time.
func (a *awaitedEnd) get(ctx context.Context) unitEnd {
	if a == nil {
		return unitEnd{}
	}
	a.of.mu.Lock()
	wait := a.wait
	a.of.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case <-a.over:
	case <-ctx.Done():
	}
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	return a.end
}

// forget drops what was kept, unless somebody else still wants it.
func (a *awaitedEnd) forget() {
	if a == nil {
		return
	}
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if a.awaiting--; a.awaiting == 0 && a.of.byUnit[a.unit] == a {
		delete(a.of.byUnit, a.unit)
	}
}
