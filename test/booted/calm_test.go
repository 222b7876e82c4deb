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

// wantCalm checks that an attack costs the daemon little memory, and no
// descriptor for longer than it lasts.
func wantCalm(t *testing.T, daemon int, attack func()) {
	t.Helper()
	before, most := descriptors(t, daemon), 0
	// What attack sets up is gone by then.
	t.Cleanup(func() {
		eventually(t, "the descriptors are closed", func() error {
			if now := descriptors(t, daemon); now > before {
				return fmt.Errorf("it has %d, had %d", now, before)
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
			most = max(most, len(entries))
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	peak := peakMemory(t, daemon, attack)
	close(stop)
	<-counted
	threads := threads(t, daemon)
	t.Logf("at most %d KiB, %d descriptors (%d before), %d threads", peak, most, before, threads)
	if peak > maxMemory {
		t.Errorf("the daemon took %d KiB", peak)
	}
	if threads > maxThreads {
		t.Errorf("it has %d threads", threads)
	}
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			peak, err := strconv.Atoi(strings.Fields(rest)[0])
			must(t, err)
			return peak
		}
	}
	t.Fatal("the kernel does not tell VmHWM")
	return 0
}
