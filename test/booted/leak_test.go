package booted

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Whatever was sent to the daemon leaves no goroutine behind, no descriptor and
// no memory: it is as it was before, however often it is attacked.
func TestMachdAttacksLeaveNothing(t *testing.T) {
	const rounds = 10
	w := watch(t)
	fresh := goroutines(t, w)
	attackOnce(t)
	daemon := pid(t)
	awaitRest(t, daemon)
	fds, rss := descriptors(t, daemon), statusOf(t, daemon, "VmRSS")
	for range rounds {
		attackOnce(t)
	}
	eventually(t, "the descriptors are closed", func() error {
		if now := descriptors(t, daemon); now > fds {
			return fmt.Errorf("it has %d, had %d", now, fds)
		}
		return nil
	})
	awaitRest(t, daemon)
	after := statusOf(t, daemon, "VmRSS")
	left := goroutines(t, w)
	t.Logf("hostile: %s rss=%dKiB (%d before) fds=%d goroutines=%d (%d at its start)", t.Name(), after, rss, fds, left, fresh)
	if left > fresh {
		t.Errorf("it has %d goroutines, had %d at its start", left, fresh)
	}
	// What one attack leaves, a thousand would make a gigabyte of.
	if grown := after - rss; grown > rounds*1024 {
		t.Errorf("it has grown by %d KiB in %d rounds", grown, rounds)
	}
}

// attackOnce has a little of every attack there is.
func attackOnce(t *testing.T) {
	t.Helper()
	for _, user := range hostileUsers {
		b := dialRaw(t, user)
		sendMalformedCalls(t, b, 100)
		must(t, b.ping(floodOfDescriptors+10))
		// Nobody waits for these any more.
		gone := dialRaw(t, user)
		for serial := uint32(2); serial < 20; serial++ {
			for _, c := range everyLookUp(".host") {
				c.serial = serial
				if _, err := gone.Write(c.bytes()); err != nil {
					t.Fatal(err)
				}
			}
		}
		gone.Close()
		for _, text := range []string{`{"method":`, "{}\x00", `{"method":"io.systemd.Machine.List","parameters":{},"more":true}` + "\x00"} {
			conn := dialVarlink(t, user)
			writeAll(t, conn, []byte(text))
			conn.Close()
		}
		must(t, b.ping(floodOfDescriptors+11))
		b.Close()
	}
}

// awaitRest waits until the daemon has nothing to do, not even for those who
// have left.
func awaitRest(t *testing.T, daemon int) {
	t.Helper()
	last := ""
	eventually(t, "the daemon rests", func() error {
		before := last
		last = fmt.Sprint(worked(daemon))
		if last != before {
			time.Sleep(300 * time.Millisecond)
			return errors.New("it has run")
		}
		return nil
	})
}

// The collector's workers begin with the first collection and stay.
var (
	goroutineLine = regexp.MustCompile(`(?m)^goroutine \d+ `)
	collectorLine = regexp.MustCompile(`(?m)^goroutine \d+ .*\[GC worker`)
)

// goroutines returns how many the daemon has, which it tells only when it is
// killed so.
func goroutines(t *testing.T, w *watcher) int {
	t.Helper()
	daemon := pid(t)
	n := 0
	run(t, "kill", "-QUIT", fmt.Sprint(daemon))
	eventually(t, "the daemon tells its goroutines", func() error {
		out, err := exec.Command("journalctl", "-q", "-o", "cat", fmt.Sprintf("_PID=%d", daemon)).Output()
		if err != nil {
			return err
		}
		_, trace, _ := strings.Cut(string(out), "SIGQUIT: quit")
		// The registers come last.
		n = len(goroutineLine.FindAllString(trace, -1)) - len(collectorLine.FindAllString(trace, -1))
		if n == 0 || !strings.Contains(trace, "\ngs ") && !strings.Contains(trace, "\nfault ") {
			return fmt.Errorf("it says:\n%s", trace)
		}
		return nil
	})
	eventually(t, "the next one is there", func() error {
		if now := pid(t); now == daemon {
			return fmt.Errorf("it is still %d", now)
		}
		return nil
	})
	w.list(t)
	return n
}
