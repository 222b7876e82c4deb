package responder

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets are read also when something else is due all the time.
func TestLoopReadsWhateverIsDue(t *testing.T) {
	t.Parallel()
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	l.ticks = append(l.ticks, func(now time.Time) time.Time { return now.Add(-time.Second) })
	got := make(chan string, 1)
	receive := func(buffer []byte, _ time.Time) bool {
		n, err := unix.Read(pair[0], buffer)
		if err != nil {
			return false
		}
		got <- string(buffer[:n])
		return true
	}
	if err := l.add(&source{fd: pair[0], receive: receive}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		defer close(ended)
		if err := l.run(); err != nil {
			ended <- err
		}
	}()
	if _, err := unix.Write(pair[1], []byte("hello")); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-got:
		if text != "hello" {
			t.Errorf("it read %q", text)
		}
	case <-time.After(5 * time.Second):
		t.Error("the socket is not read")
	}
	l.close()
	if err := <-ended; err != nil {
		t.Errorf("the loop that was closed ended with: %v", err)
	}
	l.closeAll()
}

// A loop that waits for nothing ends as quietly.
func TestLoopEndsWhileItWaits(t *testing.T) {
	t.Parallel()
	for range 20 {
		l, err := newLoop()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.run() }()
		time.Sleep(2 * time.Millisecond)
		l.close()
		if err := <-ended; err != nil {
			t.Fatalf("it ended with: %v", err)
		}
	}
}
