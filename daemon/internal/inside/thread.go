package inside

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/task"
)

// asFileOwner runs do on a thread that creates and opens files as owner.
func asFileOwner(owner identity, do func() error) error {
	if owner.ours() {
		return do()
	}
	return task.OnThread(func() error {
		if err := setFSIDs(owner); err != nil {
			return err
		}
		return do()
	})
}

func setFSIDs(owner identity) error {
	// The system calls report no failure, so ask again with an id that no
	// process can have.
	const query = -1
	unix.SetfsgidRetGid(int(owner.gid))
	unix.SetfsuidRetUid(int(owner.uid))
	gid, _ := unix.SetfsgidRetGid(query)
	uid, _ := unix.SetfsuidRetUid(query)
	if gid != int(owner.gid) || uid != int(owner.uid) {
		return fmt.Errorf("cannot open files as user %d and group %d", owner.uid, owner.gid)
	}
	return nil
}

// asPeer runs do on a thread whose user and group are self, so that the other
// end of a socket sees the machine's own root.
func asPeer(self identity, do func() error) error {
	if self.ours() {
		return do()
	}
	return task.OnThread(func() error {
		if err := setIDs(uintptr(self.uid), uintptr(self.gid)); err != nil {
			return fmt.Errorf("cannot become user %d and group %d: %w", self.uid, self.gid, err)
		}
		return do()
	})
}

// setIDs changes this thread only; the functions of package syscall would
// change all threads.
func setIDs(uid, gid uintptr) error {
	_, _, e1 := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	_, _, e2 := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid)
	_, _, e3 := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid)
	for _, errno := range []unix.Errno{e1, e2, e3} {
		if errno != 0 {
			return errno
		}
	}
	return nil
}
