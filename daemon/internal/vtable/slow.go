package vtable

// The functions here expect their caller to hold mu, except later and runSlow.

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

func (ls *lanes) mayStart(l *lane) bool {
	if l.slow < grantedSlow {
		return ls.slow < hardMaxSlow
	}
	return l.slow < maxLaneSlow && ls.slow < maxSlow
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
	ls.retire(l)
	if !ls.stopped {
		ls.startCongested()
	}
	ls.goroutineEnds()
}

// startCongested starts one slow call of the first lane that may. A lane that
// still waits goes to the end, so that the lanes take turns.
func (ls *lanes) startCongested() {
	for i, l := range ls.congested {
		if !ls.startSlow(l) {
			continue
		}
		ls.congested = append(ls.congested[:i], ls.congested[i+1:]...)
		if len(l.waiting) > 0 {
			ls.congested = append(ls.congested, l)
		}
		return
	}
}
