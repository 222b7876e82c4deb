package inside

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs do on a thread that is thrown away afterwards, so do may
// change what belongs to a thread and need not change it back.
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

// asFileOwner runs do on a thread that creates and opens files as base.
func asFileOwner(base uint32, do func() error) error {
	if int(base) == unix.Geteuid() {
		return do()
	}
	return onThread(func() error {
		if err := setFSIDs(base); err != nil {
			return err
		}
		return do()
	})
}

func setFSIDs(base uint32) error {
	// The system calls report no failure, so ask again with an id that no
	// process can have.
	const query = -1
	unix.SetfsgidRetGid(int(base))
	unix.SetfsuidRetUid(int(base))
	gid, _ := unix.SetfsgidRetGid(query)
	uid, _ := unix.SetfsuidRetUid(query)
	if gid != int(base) || uid != int(base) {
		return fmt.Errorf("cannot open files as user %d", base)
	}
	return nil
}

// asPeer runs do on a thread whose user and group are base, so that the other
// end of a socket sees the machine's own root.
func asPeer(base uint32, do func() error) error {
	if int(base) == unix.Geteuid() {
		return do()
	}
	return onThread(func() error {
		if err := setIDs(uintptr(base)); err != nil {
			return fmt.Errorf("cannot become user %d: %w", base, err)
		}
		return do()
	})
}

// setIDs changes this thread only; the functions of package syscall would
// change all threads.
func setIDs(base uintptr) error {
	_, _, e1 := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	_, _, e2 := unix.RawSyscall(unix.SYS_SETRESGID, base, base, base)
	_, _, e3 := unix.RawSyscall(unix.SYS_SETRESUID, base, base, base)
	for _, errno := range []unix.Errno{e1, e2, e3} {
		if errno != 0 {
			return errno
		}
	}
	return nil
}

// retry repeats do, a system call on a path that somebody may be changing,
// while it is disturbed.
func retry(do func() (int, error)) (int, error) {
	const attempts = 16
	var fd int
	var err error
	for range attempts {
		fd, err = do()
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}
