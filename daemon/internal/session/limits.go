package session

import (
	"sync"

	"github.com/machd/machd/pkg/machine1"
)

const (
	// maxOfUser bounds what one user runs at a time, root apart.
	maxOfUser = 64
	// maxAll bounds what all run at a time. A session is a few descriptors and
	// goroutines.
	maxAll = 4096
)

// Limits count the sessions that go on. They are safe for concurrent use.
type Limits struct {
	mu      sync.Mutex
	ended   bool // no more begin
	count   int
	ofUser  map[uint32]int
	running sync.WaitGroup
	changes uint64 // of count
}

// NewLimits returns limits under which nothing goes on.
func NewLimits() *Limits { return &Limits{ofUser: map[uint32]int{}} }

// Admit counts a session in until release is called.
func (l *Limits) Admit(user uint32) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return nil, machine1.Errorf(machine1.ErrEnding, "The machine manager is about to end.")
	case l.count >= maxAll, user != 0 && l.ofUser[user] >= maxOfUser:
		return nil, machine1.Errorf(machine1.ErrLimitsExceeded, "Too many commands of user %d run already.", user)
	}
	l.count++
	l.changes++
	l.ofUser[user]++
	l.running.Add(1)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.count--
		l.changes++
		if l.ofUser[user]--; l.ofUser[user] == 0 {
			delete(l.ofUser, user)
		}
		l.running.Done()
	}), nil
}

// Pulse returns how often a session has begun or ended, and whether one goes on.
func (l *Limits) Pulse() (changes uint64, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes, l.count > 0
}

// Close admits no more.
func (l *Limits) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// Wait waits for the sessions that go on. Close comes first.
func (l *Limits) Wait() { l.running.Wait() }
