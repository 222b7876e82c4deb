package main

import (
	"syscall"
	"testing"
	"time"
)

// A daemon that has been told to leave off is waited for, unless somebody insists.
func TestWhoInterruptsTwiceDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{{"copy-to", "c8-ns", "/etc/hostname", "/root/x"}, {"create", "x", "--from", "machine:web"}} {
		w := worldWithMachine(t)
		member := map[string]string{"copy-to": "CopyTo", "create": "CreateImage"}[argv[0]]
		w.Hang(member)
		cmd := command(w, argv...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		w.AwaitCall(member)
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			t.Errorf("%s did not wait", argv[0])
			continue
		case <-time.After(200 * time.Millisecond):
		}
		for over := false; !over; {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
				over = true
			case <-time.After(50 * time.Millisecond): // it has yet to notice the first one
			}
		}
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
			t.Errorf("%s ended with %v", argv[0], cmd.ProcessState)
		}
	}
}
