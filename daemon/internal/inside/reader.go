package inside

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/daemon/internal/task"
)

// A reader reads files of a machine with the rights of the machine's root. Any
// user can have a machine whose root he is, and in it whatever file of the host at
// whatever place.
type reader struct {
	root    *os.File
	leader  *proc.PIDFD
	shifted bool // the machine's root is not that of the host
	users   proc.IDMap
}

// nobody may read what everybody may.
var nobody = identity{65534, 65534}

// readerOf is called when root is open: a process that has left our users may have
// made itself any root, and does not come back to them.
func readerOf(leader *proc.PIDFD, root *os.File) (reader, error) {
	r := reader{root: root, leader: leader}
	if leader == nil || unix.Geteuid() != 0 { // the daemon of a user may not read more than he
		return r, nil
	}
	users, err := leader.UIDMap()
	if err != nil {
		return r, orGone(leader, err)
	}
	uid, ok := users.Outside(0)
	r.users, r.shifted = users, !ok || uid != 0
	return r, nil
}

// read reads for whoever asks: that a machine has put something there which must
// not be read is no matter of what the caller may do.
func (r reader) read(path string, limit int64) ([]byte, error) {
	text, err := r.readAs(path, limit)
	switch {
	case errors.Is(err, rootfs.ErrRefused):
		return nil, errors.New(err.Error())
	case r.shifted && errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%s is nothing that the machine's own root can read: %w", path, unix.EACCES)
	}
	return text, err
}

func (r reader) readAs(path string, limit int64) (text []byte, err error) {
	if !r.shifted {
		return rootfs.ReadFile(r.root, path, limit)
	}
	// What one of the machine's users owns is the machine's. That is most of it,
	// and takes no thread.
	text, err = rootfs.ReadFileIf(r.root, path, limit, func(uid uint32) bool {
		_, inside := r.users.Inside(uid)
		return inside
	})
	if err == nil {
		return text, nil
	}
	self, err := rootOf(r.leader)
	if errors.Is(err, proc.ErrComplexMapping) {
		self, err = nobody, nil // it has no root
	}
	if err != nil {
		return nil, err
	}
	err = task.OnThread(func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			return errno
		}
		if err := setFSIDs(self); err != nil {
			return err
		}
		text, err = rootfs.ReadFile(r.root, path, limit)
		return err
	})
	return text, err
}
