package task

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs do on a thread that is thrown away afterwards, so do may change
// what belongs to a thread, such as its users and namespaces, and need not
// change it back.
func OnThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self is its view. As
			// long as we hold it, the next goroutine gets another one.
			defer runtime.UnlockOSThread()
			done <- OnThread(do)
			return
		}
		done <- do()
	}()
	return <-done
}
