package client_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
)

// Not parallel: descriptors and goroutines are the process's.

// A caller who leaves before the reply does not keep the descriptor in it.
func TestADescriptorThatComesTooLateIsClosed(t *testing.T) {
	daemon := newAnything(t, true)
	for method, do := range map[string]doer{
		manager + "OpenMachinePTY":           opening((*client.Client).OpenPTY),
		manager + "OpenMachineRootDirectory": about(openRoot),
		ownManager + "Exec": func(ctx context.Context, c *client.Client) error {
			return closing(c.Exec(ctx, "m", client.ExecCommand{Args: []string{"true"}}))
		},
	} {
		daemon.check(t, member{name: method}, do) // opens what is kept for ever
		before := openOf(t, os.DevNull)
		for range 5 {
			daemon.leaveEarly(t, method, do)
		}
		await(t, func() bool { return openOf(t, os.DevNull) <= before })
	}
}

// leaveEarly makes a call that is answered after its caller has left.
func (a *anything) leaveEarly(t *testing.T, method string, do doer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	release := a.hold()
	a.forget()
	go func() { ended <- do(ctx, a.client) }()
	await(t, func() bool { return a.called(method) })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", method, err)
	}
	release()
}

// openOf returns how many descriptors this process has of a file.
func openOf(t *testing.T, path string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == path {
			n++
		}
	}
	return n
}

// await waits for what comes soon.
func await(t *testing.T, there func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not come to that in 10 s")
		}
	}
}

// Nothing of a client is left once it is closed, and nothing of a watch once
// its loop has ended.
func TestNothingIsLeftOfAClientThatIsClosed(t *testing.T) {
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	use := func() {
		c, err := client.Dial(t.Context(), w.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, err := range c.Watch(t.Context()) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		gone, err := c.WatchGone(t.Context(), "c8-ns")
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		s, err := c.OpenPTY(t.Context(), "c8-ns")
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	use()
	await(t, func() bool { return openOf(t, "/dev/ptmx") == 0 })
	before := runtime.NumGoroutine()
	for range 20 {
		use()
	}
	await(t, func() bool { return runtime.NumGoroutine() <= before+5 && openOf(t, "/dev/ptmx") == 0 })
}
