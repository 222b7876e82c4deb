package varlink

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Limits counts the connections of all servers of a process. Its zero value is
// not usable.
type Limits struct {
	max, others int // connections in all, and how many of them may be of others than root

	mu      sync.Mutex
	total   int
	entered uint64 // since the start
}

// NewLimits leaves a quarter of the descriptors to the rest of the process. As
// many connections as one user may have are kept for root, so that others
// cannot keep out who would have to deal with them.
func NewLimits() *Limits {
	l := &Limits{max: maxConnections}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		l.max = int(min(maxConnections, limit.Cur/4*3))
	}
	l.others = l.max - min(maxUserConnections, l.max/4)
	return l
}

func (l *Limits) enter(uid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.max || uid != 0 && l.total >= l.others {
		return false
	}
	l.total++
	l.entered++
	return true
}

// Pulse returns how many connections have come so far, and whether one is
// there now.
func (l *Limits) Pulse() (connections uint64, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered, l.total > 0
}

func (l *Limits) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
}

// A usage counts what each user, root like any other, makes one server hold.
type usage struct {
	limits *Limits

	mu    sync.Mutex
	users map[uint32]*share
}

type share struct{ connections, bytes int }

func newUsage(limits *Limits) *usage {
	return &usage{limits: limits, users: map[uint32]*share{}}
}

// enter counts one more connection of uid, unless that would be too many.
func (u *usage) enter(uid uint32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.users[uid]
	if s == nil {
		s = &share{}
	}
	if s.connections >= maxUserConnections || !u.limits.enter(uid) {
		return false
	}
	s.connections++
	u.users[uid] = s
	return true
}

// leave undoes enter.
func (u *usage) leave(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limits.leave()
	s := u.users[uid]
	if s.connections--; s.connections == 0 {
		delete(u.users, uid)
	}
}

// reserve adds n bytes to what uid's connections hold, unless that would be
// too much. A negative n gives bytes back. uid must have entered.
func (u *usage) reserve(uid uint32, n int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.users[uid]
	if n > 0 && s.bytes+n > maxUserBuffer {
		return false
	}
	s.bytes += n
	return true
}
