package vtable

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/dbustest"
)

// stranger is a user who is not the one that runs the tests, and those after him.
const stranger = 4242000

// A crowd is lanes whose calls wait until they are let go.
type crowd struct {
	*lanes
	fast, slow chan struct{} // one element lets one call go

	mu      sync.Mutex
	started map[string]int // slow calls
	users   []string
}

func newCrowd(slow bool) *crowd {
	c := &crowd{fast: make(chan struct{}), slow: make(chan struct{}), started: make(map[string]int)}
	c.lanes = newLanes(func(m *wire.Message) func() {
		if !slow {
			<-c.fast
			return nil
		}
		return func() {
			c.mu.Lock()
			c.started[m.Sender]++
			c.mu.Unlock()
			<-c.slow
		}
	}, c.userOf, nowhere{})
	return c
}

type nowhere struct{}

func (nowhere) TryFlush() {}
func (nowhere) Wake()     {}

// userOf takes what is before a "/" for the user.
func (c *crowd) userOf(sender string) uint32 {
	name, _, _ := strings.Cut(sender, "/")
	if name == "root" {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.users, name) {
		c.users = append(c.users, name)
	}
	return stranger + uint32(slices.Index(c.users, name))
}

// runningOf returns how many slow calls run of all senders of a user.
func (c *crowd) runningOf(user string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sender, started := range c.started {
		if strings.HasPrefix(sender, user+"/") {
			n += started
		}
	}
	return n
}

func (c *crowd) running(sender string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started[sender]
}

func (c *crowd) empty() bool {
	c.lanes.mu.Lock()
	defer c.lanes.mu.Unlock()
	return len(c.senders) == 0 && c.bytes == 0 && c.lanes.slow == 0 && c.busy == 0 && len(c.congested) == 0 && len(c.lanes.users) == 0
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// fill offers calls of that many bytes and descriptors until one is refused,
// and returns how many were accepted.
func (c *crowd) fill(sender string, bytes int, fds uint32) int {
	for n := 0; ; n++ {
		m := &wire.Message{Header: wire.Header{Sender: sender, UnixFDs: fds}, Body: make([]byte, bytes)}
		if err := c.accept(m, false); err != nil {
			return n
		}
	}
}

func TestWhatOneSenderMayQueueIsBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		bytes int
		fds   uint32
		want  int
	}{
		{"small calls", 10, 0, maxLaneCalls},
		{"big calls", 64 << 10, 0, maxLaneBytes/(64<<10) + 1},
		{"the biggest call", wire.MaxBody, 0, 2},
		{"calls with descriptors", 10, 4, maxLaneFDs / 4},
		{"a call with too many descriptors", 10, maxLaneFDs + 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, slow := range []bool{false, true} {
				c := newCrowd(slow)
				if got := c.fill("a", tt.bytes, tt.fds); got != tt.want {
					t.Errorf("slow %v: got %d", slow, got)
				}
				if got := c.fill("b", 10, 0); got != maxLaneCalls {
					t.Errorf("slow %v: another sender got %d", slow, got)
				}
				close(c.fast)
				close(c.slow)
				await(t, "nothing is left", c.empty)
			}
		})
	}
}

func TestAHoarderLeavesTheOthersTheirGrant(t *testing.T) {
	t.Parallel()
	c := newCrowd(false)
	for i := range 20 {
		c.fill(fmt.Sprint("hoarder", i), 32<<10, 0)
	}
	c.lanes.mu.Lock()
	if c.bytes > maxBytes {
		t.Errorf("%d bytes are queued", c.bytes)
	}
	c.lanes.mu.Unlock()
	if got := c.fill("other", 1<<10, 0); got != grantedBytes>>10 {
		t.Errorf("another sender got %d", got)
	}
	if got := c.fill("third", 32<<10, 0); got != 0 {
		t.Errorf("a third sender got %d", got)
	}
	close(c.fast)
	await(t, "nothing is left", c.empty)
}

func TestSlowCallsAreBoundedButGranted(t *testing.T) {
	t.Parallel()
	c := newCrowd(true)
	const hoarders = maxSlow/maxLaneSlow + 4
	for i := range hoarders {
		c.fill(fmt.Sprint("hoarder", i), 10, 4) // 16 calls each
	}
	all := func() (n int) {
		for i := range hoarders {
			n += c.running(fmt.Sprint("hoarder", i))
		}
		return n
	}
	await(t, "as many run as may", func() bool { return all() >= maxSlow })
	c.fill("other", 10, 4)
	await(t, "another sender's runs, too", func() bool { return c.running("other") == grantedSlow })
	if n := all(); n >= maxSlow+hoarders {
		t.Errorf("%d calls run", n)
	}
	for i := range hoarders {
		if n := c.running(fmt.Sprint("hoarder", i)); n == 0 || n > maxLaneSlow {
			t.Errorf("%d calls of one sender run", n)
		}
	}
	// Those that wait take turns: what is let go makes room for each of them.
	for range 3 * hoarders {
		c.slow <- struct{}{}
	}
	close(c.slow)
	await(t, "nothing is left", c.empty)
	if n := all() + c.running("other"); n != (hoarders+1)*maxLaneFDs/4 {
		t.Errorf("%d calls have run", n)
	}
}

// A user may have as many senders as he likes.
func TestWhatTheSendersOfOneUserHoardIsBounded(t *testing.T) {
	t.Parallel()
	c := newCrowd(true)
	one := func(sender string) {
		m := &wire.Message{Header: wire.Header{Sender: sender}, Body: make([]byte, 10)}
		if err := c.accept(m, false); err != nil {
			t.Fatal(err)
		}
	}
	const users, calls = 9, 2 * hardMaxSlow
	for i := range calls {
		one(fmt.Sprint("hoarder/", i))
	}
	await(t, "as many run as may", func() bool { return c.runningOf("hoarder") >= maxUserSlow })
	one("other/1")
	await(t, "another user's runs, too", func() bool { return c.running("other/1") == 1 })
	// Of the first, nobody asked whose they are.
	if n := c.runningOf("hoarder"); n > plentySlow+maxUserSlow {
		t.Errorf("%d calls of one user run", n)
	}

	for u := range users {
		for i := range maxUserSlow {
			one(fmt.Sprint("hoarder", u, "/", i))
		}
	}
	slow := func() int {
		c.lanes.mu.Lock()
		defer c.lanes.mu.Unlock()
		return c.lanes.slow
	}
	await(t, "no more of theirs may run", func() bool { return slow() == othersSlow })
	for i := range maxUserSlow {
		one(fmt.Sprint("root/", i))
	}
	await(t, "all of root's run", func() bool { return c.runningOf("root") == maxUserSlow })
	if n := slow(); n != hardMaxSlow {
		t.Errorf("%d calls run", n)
	}
	close(c.slow)
	await(t, "nothing is left", c.empty)
	if n := c.runningOf("hoarder"); n != calls {
		t.Errorf("%d calls of the first have run", n)
	}
}

func TestStoppingDropsWhatWaits(t *testing.T) {
	t.Parallel()
	for _, slow := range []bool{false, true} {
		c := newCrowd(slow)
		c.fill("a", 10, 0)
		if slow {
			await(t, "slow calls run", func() bool { return c.running("a") == maxLaneSlow })
		}
		time.AfterFunc(10*time.Millisecond, func() { close(c.fast); close(c.slow) })
		c.stop(30 * time.Second)
		select {
		case <-c.idle:
		default:
			t.Error("something still runs")
		}
		if n := c.running("a"); n > maxLaneSlow {
			t.Errorf("%d calls have run", n)
		}
		if err := c.accept(&wire.Message{Header: wire.Header{Sender: "a"}}, false); !errors.Is(err, errStopped) {
			t.Errorf("got %v after the end", err)
		}
	}
}

func TestStoppingDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	c := newCrowd(true)
	c.fill("a", 10, 0)
	c.stop(time.Millisecond)
	close(c.slow)
}

func TestALaneIsUsedAgainOnlyWhenItsGoroutineHasLeftIt(t *testing.T) {
	t.Parallel()
	ls := newLanes(nil, nil, nowhere{})
	enter := func(sender string) (*lane, *wire.Message) {
		m := &wire.Message{Header: wire.Header{Sender: sender}}
		l, err := ls.enter(m)
		if err != nil || l == nil {
			t.Fatalf("got %v, %v", l, err)
		}
		if got := ls.next(l, nil); got != m {
			t.Fatalf("got %v from the lane", got)
		}
		return l, m
	}
	first, m := enter("a")
	ls.later(first, slowCall{m, func() {}})
	await(t, "the slow call ends", func() bool {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		return ls.slow == 0
	})
	second, m := enter("b")
	if second == first {
		t.Fatal("a lane is used again while its goroutine works on it")
	}
	if ls.next(first, nil) != nil || ls.next(second, m) != nil {
		t.Fatal("there is a call in an empty lane")
	}
	if third, _ := enter("c"); third != first && third != second {
		t.Error("no lane is used again")
	}
}

func TestTheBusTellsWhoseASenderIs(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	s, err := Dial(t.Context(), b.Address, Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.dispatcher.begin(t.Context())
	if user := s.userOf(b.Dial().Names()[0]); user != uint32(os.Getuid()) {
		t.Errorf("our own connection is user %d's", user)
	}
	if user := s.userOf(":7.7"); user != nobody || privileged(user) {
		t.Errorf("a sender that has left is user %d's", user)
	}
}
