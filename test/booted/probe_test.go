package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// promptly is how long somebody who does no harm may have to wait for the
// daemon, whatever others do.
const promptly = 50 * time.Millisecond

// A probe asks the daemon all the time and remembers how long that took. The
// bus and the machine below make everybody wait now and then: a probe asks them
// as well, and looks how long the daemon waits for a processor. What they take
// at the same moment does not count.
type probe struct {
	stop    chan struct{}
	clients sync.WaitGroup

	mu     sync.Mutex
	p100   time.Duration // the longest of all
	slow   []interval    // calls of the daemon that took longer than promptly
	stalls []interval    // when the bus or the machine did nothing, for the daemon at least
}

type interval struct{ from, to time.Time }

func (i interval) length() time.Duration { return i.to.Sub(i.from) }

// overlap returns how long both last at the same time.
func (i interval) overlap(j interval) time.Duration {
	if i.from.Before(j.from) {
		i.from = j.from
	}
	if i.to.After(j.to) {
		i.to = j.to
	}
	return max(0, i.length())
}

// stall is how long the bus takes when something is wrong with it.
const stall = 5 * time.Millisecond

// startProbe asks as each of the users, until end is called.
func startProbe(t *testing.T, users ...string) *probe {
	t.Helper()
	p := &probe{stop: make(chan struct{})}
	getID := rawCall{destination: busDriver.Name, path: string(busDriver.Path), iface: busDriver.Name, member: "GetId"}
	p.add(t, dialRaw(t, "root"), time.Millisecond, true, getID)
	p.clients.Go(func() { p.repeat(t, time.Millisecond, true, func(uint32) error { return nil }) })
	daemon := pid(t)
	p.clients.Go(func() { p.noteStarving(daemon) })
	for _, user := range users {
		p.add(t, dialRaw(t, user), time.Millisecond, false,
			toManager("ListMachines", "", nil), toManager("GetMachineAddresses", "s", stringOf(".host")))
	}
	return p
}

// add has one more client make these calls in turn. reference says that they
// are not the daemon's.
func (p *probe) add(t *testing.T, b *rawBus, pause time.Duration, reference bool, calls ...rawCall) {
	p.clients.Go(func() {
		p.repeat(t, pause, reference, func(n uint32) error { return b.ask(calls[int(n)%len(calls)], n+2) })
	})
}

func (p *probe) repeat(t *testing.T, pause time.Duration, reference bool, ask func(n uint32) error) {
	for n := uint32(0); ; n++ {
		start := time.Now()
		if err := ask(n); err != nil {
			t.Errorf("the probe gets no answer: %v", err)
			return
		}
		if reference {
			time.Sleep(pause) // a machine that stalls shows here
		}
		p.note(interval{start, time.Now()}, pause, reference)
		select {
		case <-p.stop:
			return
		default:
		}
		if !reference {
			time.Sleep(pause)
		}
	}
}

// slice is how long somebody else has the processor at least. The daemon's own
// threads make one another wait for less.
const slice = time.Millisecond

// noteStarving looks every few milliseconds how long a thread of the daemon had
// to wait for a processor. The kernel adds that up once it has one.
func (p *probe) noteStarving(daemon int) {
	before := waited(daemon)
	for {
		select {
		case <-p.stop:
			return
		case <-time.After(stall):
		}
		now, all := time.Now(), waited(daemon)
		longest := time.Duration(0)
		for thread, sum := range all {
			longest = max(longest, sum-before[thread])
		}
		if longest > slice {
			p.mu.Lock()
			p.stalls = append(p.stalls, interval{now.Add(-longest), now})
			p.mu.Unlock()
		}
		before = all
	}
}

// waited returns how long each of a process's threads has waited for a
// processor so far.
func waited(pid int) map[string]time.Duration { return scheduled(pid, 1) }

// worked returns how long each of a process's threads has had one.
func worked(pid int) map[string]time.Duration { return scheduled(pid, 0) }

// Reference: Documentation/scheduler/sched-stats.rst of Linux.
func scheduled(pid, field int) map[string]time.Duration {
	all := map[string]time.Duration{}
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range paths {
		text, _ := os.ReadFile(path) // it may have ended
		if fields := strings.Fields(string(text)); len(fields) > field {
			n, _ := strconv.ParseInt(fields[field], 10, 64)
			all[path] = time.Duration(n)
		}
	}
	return all
}

func (p *probe) note(i interval, pause time.Duration, reference bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case reference && i.length() > pause+stall:
		p.stalls = append(p.stalls, i)
	case !reference && i.length() > promptly:
		p.slow = append(p.slow, i)
	}
	if !reference {
		p.p100 = max(p.p100, i.length())
	}
}

// longest ends the probe and returns how long others had to wait at most, and
// how long of that for the daemon.
func (p *probe) longest() (p100, own time.Duration) {
	close(p.stop)
	p.clients.Wait()
	for _, call := range p.slow {
		own = max(own, call.length()-p.stalled(call))
	}
	return p.p100, own
}

// stalled returns how much of i the bus or the machine did nothing.
func (p *probe) stalled(i interval) (sum time.Duration) {
	slices.SortFunc(p.stalls, func(a, b interval) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, s := range p.stalls {
		if s.from.Before(until) {
			s.from = until
		}
		sum += i.overlap(s)
		if s.to.After(until) {
			until = s.to
		}
	}
	return sum
}
