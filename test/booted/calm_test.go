package booted

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxThreads is how many threads may be left of an attack. Go keeps those that
// it once needed.
const maxThreads = 100

// A cost is what an attack has taken of the daemon, and of those who asked it
// meanwhile.
type cost struct {
	rss, rssBefore int // KiB, the most resident
	fds, fdsBefore int // the most open
	threads        int // afterwards
	p100           time.Duration
	own            time.Duration // of that, what neither the bus nor the machine took
}

func (c cost) String() string {
	return fmt.Sprintf("rss=%dKiB (%d before) p100=%s (%s the daemon's own) fds=%d (%d before) threads=%d",
		c.rss, c.rssBefore, c.p100.Round(time.Microsecond), c.own.Round(time.Microsecond), c.fds, c.fdsBefore, c.threads)
}

// sieges is how often the daemon is attacked if others have to wait for it.
// Some attacks take the daemon and the bus most of promptly. On a busy machine
// that may not do for what comes behind them.
const sieges = 10

// wantUnharmed lets the daemon be attacked while others ask it, who may be
// joined by more, and checks that nobody but the attacker pays.
func wantUnharmed(t *testing.T, attack func(t *testing.T, others *probe)) {
	t.Helper()
	for n := 1; ; n++ {
		var c cost
		t.Run(fmt.Sprint(n), func(t *testing.T) { c = besiege(t, attack) })
		if t.Failed() || c.own <= promptly {
			return
		}
		if n == sieges {
			t.Fatalf("others had to wait for the daemon for %s", c.own)
		}
	}
}

// besiege is one siege. How long the others had to wait is left to its caller.
func besiege(t *testing.T, attack func(t *testing.T, others *probe)) (c cost) {
	t.Helper()
	var p100, own time.Duration
	c = wantCalm(t, pid(t), func() {
		others := startProbe(t, hostileUsers...)
		attack(t, others)
		p100, own = others.longest()
	})
	c.p100, c.own = p100, own
	t.Logf("hostile: %s %s", t.Name(), c)
	return c
}

// wantCalm checks that an attack costs the daemon little memory, and no
// descriptor for longer than it lasts.
func wantCalm(t *testing.T, daemon int, attack func()) (c cost) {
	t.Helper()
	c.fdsBefore, c.rssBefore = descriptors(t, daemon), statusOf(t, daemon, "VmRSS")
	// What attack sets up is gone by then.
	t.Cleanup(func() {
		eventually(t, "the descriptors are closed", func() error {
			if now := descriptors(t, daemon); now > c.fdsBefore {
				return fmt.Errorf("it has %d, had %d", now, c.fdsBefore)
			}
			return nil
		})
		if now := pid(t); now != daemon {
			t.Errorf("the daemon is process %d, was %d", now, daemon)
		}
	})
	stop, counted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(counted)
		for {
			entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", daemon))
			c.fds = max(c.fds, len(entries))
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	c.rss = peakMemory(t, daemon, attack)
	close(stop)
	<-counted
	c.threads = threads(t, daemon)
	if c.rss > maxMemory {
		t.Errorf("the daemon took %d KiB", c.rss)
	}
	if c.threads > maxThreads {
		t.Errorf("it has %d threads", c.threads)
	}
	return c
}

func threads(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	return len(entries)
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(entries)
}

// peakMemory returns the most memory, in KiB, that a process had resident
// while fn ran.
func peakMemory(t *testing.T, pid int, fn func()) int {
	t.Helper()
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)) // resets VmHWM
	fn()
	return statusOf(t, pid, "VmHWM")
}

// statusOf returns a number that the kernel tells of a process, in KiB.
func statusOf(t *testing.T, pid int, key string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			must(t, err)
			return n
		}
	}
	t.Fatalf("the kernel does not tell %s", key)
	return 0
}
