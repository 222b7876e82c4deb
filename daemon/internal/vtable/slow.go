package vtable

import "os"

// The functions here expect their caller to hold mu, except later, runSlow and
// learnUser.

// later lets a slow call run as soon as it may.
func (ls *lanes) later(l *lane, c slowCall) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.stopped {
		c.message.Close()
		return
	}
	l.waiting = append(l.waiting, c)
	if len(l.waiting) > 1 {
		return // l is congested already
	}
	if !ls.startSlow(l) {
		ls.congested = append(ls.congested, l)
	}
}

// mayStart reports whether one more slow call of l may run. Where that depends
// on whose l is and nobody knows yet, it is found out, and l may later.
func (ls *lanes) mayStart(l *lane) bool {
	switch {
	case l.slow >= maxLaneSlow:
		return false
	case ls.slow < plentySlow:
		return true
	case !l.known:
		ls.askUser(l)
		return false
	case !privileged(l.user) && (ls.users[l.user] >= maxUserSlow || ls.slow >= othersSlow):
		return false
	case l.slow < grantedSlow:
		return ls.slow < hardMaxSlow
	}
	return ls.slow < maxSlow
}

// privileged reports whether user has to get through whatever others do: root,
// and the user whose daemon this is.
func privileged(user uint32) bool { return user == 0 || user == uint32(os.Geteuid()) }

func (ls *lanes) askUser(l *lane) {
	if l.asking {
		return
	}
	l.asking = true
	ls.busy++
	go ls.learnUser(l, l.sender)
}

func (ls *lanes) learnUser(l *lane, sender string) {
	user := ls.userOf(sender)

	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.user, l.known, l.asking = user, true, false
	ls.countSlow(l, l.slow) // which were not counted when they began
	ls.retire(l)
	for !ls.stopped && ls.startCongested() {
	}
	ls.goroutineEnds()
}

// countSlow notes for the user of l that n more slow calls run.
func (ls *lanes) countSlow(l *lane, n int) {
	if !l.known {
		return
	}
	if ls.users[l.user] += n; ls.users[l.user] == 0 {
		delete(ls.users, l.user)
	}
}

// startSlow starts the slow call that l waits for longest, if it may.
func (ls *lanes) startSlow(l *lane) bool {
	if !ls.mayStart(l) {
		return false
	}
	c := l.waiting[0]
	l.waiting[0] = slowCall{}
	l.waiting = l.waiting[1:]
	l.slow++
	ls.slow++
	ls.countSlow(l, +1)
	ls.busy++
	go ls.runSlow(l, c)
	return true
}

func (ls *lanes) runSlow(l *lane, c slowCall) {
	c.finish()
	ls.out.TryFlush()

	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.account(l, c.message, -1)
	l.slow--
	ls.slow--
	ls.countSlow(l, -1)
	ls.retire(l)
	if !ls.stopped {
		ls.startCongested()
	}
	ls.goroutineEnds()
}

// startCongested starts one slow call of the first lane that may, and reports
// whether there was one. A lane that still waits goes to the end, so that the
// lanes take turns.
func (ls *lanes) startCongested() bool {
	for i, l := range ls.congested {
		if !ls.startSlow(l) {
			continue
		}
		ls.congested = append(ls.congested[:i], ls.congested[i+1:]...)
		if len(l.waiting) > 0 {
			ls.congested = append(ls.congested, l)
		}
		return true
	}
	return false
}
