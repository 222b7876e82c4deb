package inside

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// lookUpLimit is how long a look-up below a machine's root may take and
	// how long its caller waits. A look-up takes tens of microseconds unless
	// the machine means harm.
	lookUpLimit = 5 * time.Second
	// maxLookUps bounds the look-ups that go on at a time, stuck ones
	// included. Each is a thread, and one that is stuck in the kernel cannot
	// be ended.
	maxLookUps = 64
)

// ErrBusy says that an earlier look-up in the same machine still hangs, or
// that too many of them hang in others.
var ErrBusy = fmt.Errorf("an earlier look-up in a machine still hangs: %w", unix.EBUSY)

var errHangs = fmt.Errorf("the machine's file system does not answer: %w", machine1.ErrTimeout)

// A Guard makes sure that a machine whose file system never answers costs its
// own callers a time-out and everybody else nothing. Look-ups in one machine
// run one after the other. While one is stuck, all others in that machine fail
// at once with ErrBusy. It is safe for concurrent use.
type Guard struct {
	log     *slog.Logger
	limit   time.Duration
	lookUps chan struct{} // one token per look-up that goes on
	binds   *bindRecord
	sources atomic.Uint64 // how many files of the host were looked up
	copies  copyLanes
	errands copyLanes
	states  copyLanes     // those who wait for service managers
	ofUser  bool          // sends errands
	late    chan struct{} // one token per shell that takes its time to begin

	mu    sync.Mutex
	lanes map[laneKey]*lane
}

// NewGuard returns a guard with the usual limits.
func NewGuard(log *slog.Logger) *Guard { return newGuard(log, lookUpLimit) }

// NewUserGuard returns a guard for a daemon that runs as an ordinary user. What
// takes the root of a machine with ids of its own is done by another process of
// the same program, which must leave ErrandArgument to RunErrand.
func NewUserGuard(log *slog.Logger) *Guard {
	g := NewGuard(log)
	g.ofUser = true
	return g
}

func newGuard(log *slog.Logger, limit time.Duration) *Guard {
	return &Guard{
		log: log, limit: limit,
		lookUps: make(chan struct{}, maxLookUps),
		binds:   &bindRecord{dir: bindDir},
		late:    make(chan struct{}, maxLate),
		lanes:   map[laneKey]*lane{},
	}
}

// A laneKey is a leader. The zero key is the host.
type laneKey struct {
	id  uint64 // on pidfs, 0 where the kernel has none
	pid int
}

func keyOf(leader *proc.PIDFD) laneKey {
	if leader == nil {
		return laneKey{}
	}
	return laneKey{leader.ID(), leader.PID()}
}

// A lane is where the look-ups in one machine wait for their turn. It lives
// while somebody is in it.
type lane struct {
	turn  chan struct{} // holds a token while a look-up goes on
	stuck chan struct{} // closed once that look-up took too long; it is the last one then
	users int           // guarded by Guard.mu
}

// lookUp runs do on a goroutine of its own and returns what it returns, unless
// that takes too long. A value that comes too late goes to drop.
func lookUp[T any](ctx context.Context, g *Guard, key laneKey, do func() (T, error), drop func(T)) (T, error) {
	var none T
	l := g.join(key)
	expired, err := g.enter(ctx, l)
	if err != nil {
		g.leave(key, l)
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	out, left := make(chan result), make(chan struct{})
	defer close(left)
	go func() { // outlives us if it is stuck
		watch := time.AfterFunc(g.limit, func() { g.markStuck(key, l) })
		value, err := do()
		g.finish(key, l, watch)
		select {
		case out <- result{value, err}:
		case <-left:
			if err == nil {
				drop(value)
			}
		}
	}()
	select {
	case r := <-out:
		return r.value, r.err
	case <-l.stuck:
		return none, errHangs
	case <-expired:
		return none, errHangs
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

func (g *Guard) join(key laneKey) *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[key]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1), stuck: make(chan struct{})}
		g.lanes[key] = l
	}
	l.users++
	return l
}

func (g *Guard) leave(key laneKey, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.users--
	if l.users == 0 && g.lanes[key] == l {
		delete(g.lanes, key)
	}
}

// enter waits for the turn in l and for room among all look-ups. What it
// returns expires when the caller has waited long enough, and is nil if it did
// not have to wait at all.
func (g *Guard) enter(ctx context.Context, l *lane) (expired <-chan time.Time, err error) {
	if l.tryEnter() {
		if g.tryRoom() {
			return nil, nil
		}
		<-l.turn
	}
	expired = time.After(g.limit)
	select {
	case l.turn <- struct{}{}:
	case <-l.stuck:
		return nil, ErrBusy
	case <-expired:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case g.lookUps <- struct{}{}:
		return expired, nil
	case <-expired:
		err = ErrBusy
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	<-l.turn
	return nil, err
}

func (l *lane) tryEnter() bool {
	select {
	case l.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g *Guard) tryRoom() bool {
	select {
	case g.lookUps <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g *Guard) markStuck(key laneKey, l *lane) {
	close(l.stuck)
	g.log.Warn("A look-up in a machine hangs.", "leader", key.pid)
}

// finish ends a look-up. After one that was stuck the lane stays closed for
// those who wait in it, and the next caller gets a new one.
func (g *Guard) finish(key laneKey, l *lane, watch *time.Timer) {
	<-g.lookUps
	if watch.Stop() {
		<-l.turn
		g.leave(key, l)
		return
	}
	g.mu.Lock()
	if g.lanes[key] == l {
		delete(g.lanes, key)
	}
	g.mu.Unlock()
	g.log.Info("A look-up in a machine ended after all.", "leader", key.pid)
}
