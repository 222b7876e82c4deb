// Package inside reaches into a running machine from the host without entering
// its namespaces: files below its root, its terminals, the bus of its own
// service manager. Where we run as an ordinary user another process enters the
// machine's user namespace: see errand. Everything a machine shows is hostile
// input here: every look-up has a deadline, every read a bound, and no path is
// used twice.
//
// It names a machine by its leader alone and knows no registry; a nil leader
// is the host itself. It decides nothing about who may do what.
//
// Some calls change the ids of a thread, which is then thrown away. The main
// thread cannot be, so the main goroutine of the program should be locked to it
// (runtime.LockOSThread in an init function); this package avoids that thread
// by itself, but whatever is started on it later would not. After the first
// such call for a machine with user namespaces the process is not dumpable.
package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// below runs do with the root directory of leader, opened with O_PATH, under
// the rules of g. It closes root afterwards and asks once more whether leader
// lives: if not, root may have been that of a stranger with its PID, and the
// result is dropped.
func below[T any](ctx context.Context, g *Guard, leader *proc.PIDFD, do func(root *os.File) (T, error), drop func(T)) (T, error) {
	look := func() (value T, err error) {
		root, err := openRoot(leader)
		if err != nil {
			return value, orGone(leader, err)
		}
		defer root.Close()
		value, err = do(root)
		if leader == nil || leader.Alive() {
			return value, err
		}
		if err == nil {
			drop(value)
		}
		var none T
		return none, errGone
	}
	return lookUp(ctx, g, keyOf(leader), look, drop)
}

var errGone = fmt.Errorf("the machine is gone: %w", unix.ESRCH)

// orGone returns err, unless its cause is that the machine is gone: what is
// missed of a dead leader first is a matter of chance.
func orGone(leader *proc.PIDFD, err error) error {
	if err == nil || leader == nil || leader.Alive() && !diesSoon(leader, err) {
		return err
	}
	return errGone
}

// dying is more than it takes from when a process has lost its namespaces until
// it counts as dead.
const dying = 50 * time.Millisecond

// diesSoon waits for the end of a leader of which err says that it may have lost
// its mount namespace already.
func diesSoon(leader *proc.PIDFD, err error) bool {
	if !errors.Is(err, unix.EINVAL) {
		return false
	}
	for begun := time.Now(); time.Since(begun) < dying; time.Sleep(time.Millisecond) {
		if !leader.Alive() {
			return true
		}
	}
	return false
}

func openRoot(leader *proc.PIDFD) (*os.File, error) {
	if leader == nil {
		return os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	root, err := leader.OpenRoot()
	if err != nil {
		return nil, fmt.Errorf("cannot open the machine's root: %w", err)
	}
	return root, nil
}

// An identity is a user and a group of the host.
type identity struct{ uid, gid uint32 }

// ours reports whether we are that user and group already.
func (i identity) ours() bool {
	return int(i.uid) == unix.Geteuid() && int(i.gid) == unix.Getegid()
}

// rootOf returns what the machine's root user and group are on the host.
func rootOf(leader *proc.PIDFD) (identity, error) {
	if leader == nil {
		return identity{}, nil
	}
	uid, gid, err := leader.RootIDs()
	if err != nil {
		return identity{}, fmt.Errorf("cannot act as the machine's root: %w", err)
	}
	return identity{uid, gid}, nil
}

// nothing drops what needs no dropping.
func nothing[T any](T) {}

func closeFile(f *os.File) { f.Close() }
