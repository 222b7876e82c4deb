package wire

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeps returns how often a thread of this process has begun to wait.
func sleeps(t *testing.T, tid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReaderSleepsOnWhileTheBusTakesWhatIsSent(t *testing.T) {
	t.Parallel()
	c, bus := pair(t)
	reader := make(chan int)
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		reader <- unix.Gettid()
		_, err := c.Read()
		ended <- err
	}()
	tid := <-reader
	for sleeps(t, tid) == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond) // for the last system call before it waits

	before := sleeps(t, tid)
	const count = 200
	for range count {
		c.Queue(&Header{Type: TypeSignal, Path: "/", Interface: "a.b", Member: "C"}, nil, nil)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAtLeast(bus, make([]byte, 1000), fixedHeader); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	if woken := sleeps(t, tid) - before; woken > count/10 {
		t.Errorf("the reader was woken %d times by %d messages that it sent", woken, count)
	}
	bus.Close()
	if err := <-ended; err == nil {
		t.Error("there is a message at the end")
	}
}
