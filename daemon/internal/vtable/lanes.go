package vtable

import (
	"context"
	"sync"
	"time"

	"github.com/machd/machd/daemon/internal/wire"
)

// How much of what was asked may wait or run.
const (
	maxLaneCalls = 4096
	maxLaneBytes = 1 << 20
	maxLaneFDs   = 64
	maxLaneSlow  = 16
	maxBytes     = 8 << 20
	maxSlow      = 256

	// What every sender is granted even when others have used up the rest: one
	// who hoards shall not lock out another.
	grantedBytes = 16 << 10
	grantedSlow  = 1
	hardMaxSlow  = 1024

	// A user can have any number of senders, so he is bounded, too. As much is
	// kept for root, who has to deal with those who hoard. As long as no more than
	// plentySlow run, nobody is asked whose a sender is.
	plentySlow  = 64
	maxUserSlow = 128
	othersSlow  = hardMaxSlow - maxUserSlow
)

// A lane is the calls of one sender. They run in order of arrival, except the
// slow ones, which run beside it.
type lane struct {
	sender  string
	queue   []*wire.Message
	first   [1]*wire.Message // memory for the usual case: one at a time
	running bool             // a goroutine takes calls from queue

	slow    int        // running slow calls
	waiting []slowCall // slow calls that may not run yet

	// user is whose the sender is, once that is known.
	user          uint32
	known, asking bool

	// All calls that have not been answered, slow ones too.
	calls, bytes, fds int
}

type slowCall struct {
	message *wire.Message
	finish  func()
}

// lanes is what has been asked and not been answered yet.
type lanes struct {
	// serve answers a call, or returns what remains to do for a slow one.
	serve func(*wire.Message) (rest func())
	// userOf tells whose a sender is.
	userOf func(sender string) uint32
	out    flusher

	mu      sync.Mutex
	senders map[string]*lane
	spare   *lane  // for the next sender, or nil
	entered uint64 // calls, since the start
	bytes   int
	slow    int
	users   map[uint32]int // running slow calls of the lanes whose user is known
	// congested are the lanes where slow calls wait, the one that waits longest
	// first.
	congested []*lane
	busy      int // goroutines
	stopped   bool
	idle      chan struct{} // closed when stopped and not busy any more
	settled   chan struct{} // if not nil, closed when not busy for once
}

// A flusher sends the answers that have been queued; *wire.Conn is one.
type flusher interface {
	TryFlush() // in this goroutine, as far as possible
	Wake()     // in another one
}

func newLanes(serve func(*wire.Message) (rest func()), userOf func(string) uint32, out flusher) *lanes {
	return &lanes{
		serve: serve, userOf: userOf, out: out,
		senders: make(map[string]*lane), users: make(map[uint32]int), idle: make(chan struct{}),
	}
}

// accept takes a call over. It leaves the message to its caller, and returns
// errCrowded or errStopped, if too much is waiting or after the end. If here is
// set and no earlier call of the sender waits, it is answered before accept
// returns, or left to run beside the lane if it is slow. Otherwise accept never
// blocks.
func (ls *lanes) accept(m *wire.Message, here bool) error {
	l, err := ls.enter(m)
	switch {
	case err != nil:
		return err
	case l == nil:
		return nil
	case here:
		ls.run(l)
	default:
		go ls.run(l)
	}
	return nil
}

// enter puts m into its sender's lane, and returns that if somebody has to run
// it.
func (ls *lanes) enter(m *wire.Message) (*lane, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped {
		return nil, errStopped
	}
	l, known := ls.senders[m.Sender]
	if !known {
		l = ls.newLane(m.Sender)
	}
	if !ls.mayQueue(l, m) {
		return nil, errCrowded
	}
	if !known {
		ls.senders[l.sender] = l
	}
	ls.entered++
	ls.account(l, m, +1)
	l.queue = append(l.queue, m)
	if l.running {
		return nil, nil
	}
	l.running = true
	ls.busy++
	return l, nil
}

// newLane, like all helpers from here on, expects its caller to hold mu.
func (ls *lanes) newLane(sender string) *lane {
	l := ls.spare
	if ls.spare = nil; l == nil {
		l = new(lane)
	}
	l.sender, l.queue = sender, l.first[:0]
	return l
}

// retire keeps l for another sender if nobody works on it any more.
func (ls *lanes) retire(l *lane) {
	if l.calls == 0 && l.slow == 0 && !l.running && !l.asking {
		*l = lane{}
		ls.spare = l
	}
}

func (ls *lanes) mayQueue(l *lane, m *wire.Message) bool {
	switch {
	case l.calls >= maxLaneCalls, l.bytes > maxLaneBytes, l.fds+int(m.UnixFDs) > maxLaneFDs:
		return false
	}
	return ls.bytes+m.Size() <= maxBytes || l.bytes+m.Size() <= grantedBytes
}

func (ls *lanes) account(l *lane, m *wire.Message, sign int) {
	l.calls += sign
	l.bytes += sign * m.Size()
	ls.bytes += sign * m.Size()
	l.fds += sign * int(m.UnixFDs)
	if l.calls == 0 {
		delete(ls.senders, l.sender)
	}
}

// run answers the calls of l until there are none. The last answer is written
// right here, which spares waking the writer; the others must not wait for it.
func (ls *lanes) run(l *lane) {
	for m := ls.next(l, nil); m != nil; {
		done := m
		if rest := ls.serve(m); rest != nil {
			ls.later(l, slowCall{m, rest})
			done = nil
		}
		if m = ls.next(l, done); m != nil {
			ls.out.Wake()
		}
	}
	ls.out.TryFlush()
}

// next notes that done, if any, was answered, and returns the next call of l,
// nil if its goroutine is to end.
func (ls *lanes) next(l *lane, done *wire.Message) *wire.Message {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if done != nil {
		ls.account(l, done, -1)
	}
	if len(l.queue) == 0 || ls.stopped {
		l.running = false
		l.queue = nil
		ls.retire(l)
		ls.goroutineEnds()
		return nil
	}
	m := l.queue[0]
	l.queue[0] = nil
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = l.first[:0]
	}
	return m
}

func (ls *lanes) goroutineEnds() {
	ls.busy--
	if ls.busy > 0 {
		return
	}
	if ls.settled != nil {
		close(ls.settled)
		ls.settled = nil
	}
	if ls.stopped {
		close(ls.idle)
	}
}

// settle waits until no call is being answered or waits for it, or ctx ends.
func (ls *lanes) settle(ctx context.Context) {
	ls.mu.Lock()
	if ls.busy == 0 {
		ls.mu.Unlock()
		return
	}
	settled := make(chan struct{})
	ls.settled = settled
	ls.mu.Unlock()

	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// stop drops the calls that nobody answers yet, and waits for the others, but
// no longer than d.
func (ls *lanes) stop(d time.Duration) {
	ls.mu.Lock()
	ls.stopped = true
	for _, l := range ls.senders {
		for _, m := range l.queue {
			m.Close()
		}
		for _, c := range l.waiting {
			c.message.Close()
		}
		l.queue, l.waiting = nil, nil
	}
	if ls.busy == 0 {
		close(ls.idle)
	}
	ls.mu.Unlock()

	select {
	case <-ls.idle:
	case <-time.After(d):
	}
}
