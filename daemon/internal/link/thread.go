package link

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs do on a thread that is thrown away afterwards, so do may enter
// a namespace and need not return.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self is its view. As
			// long as we hold it, the next goroutine gets another one.
			defer runtime.UnlockOSThread()
			done <- onThread(do)
			return
		}
		done <- do()
	}()
	return <-done
}
