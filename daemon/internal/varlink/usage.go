package varlink

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A usage counts what each user makes the server hold.
type usage struct {
	max int // connections in all

	mu    sync.Mutex
	total int
	users map[uint32]*share
}

type share struct{ connections, bytes int }

// newUsage leaves a quarter of the descriptors to the rest of the process.
func newUsage() *usage {
	u := &usage{max: maxConnections, users: map[uint32]*share{}}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		u.max = int(min(maxConnections, limit.Cur/4*3))
	}
	return u
}

// enter counts one more connection of uid, unless that would be too many.
func (u *usage) enter(uid uint32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.users[uid]
	if s == nil {
		s = &share{}
	}
	if u.total >= u.max || s.connections >= maxUserConnections {
		return false
	}
	u.total++
	s.connections++
	u.users[uid] = s
	return true
}

// leave undoes enter.
func (u *usage) leave(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total--
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
