package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/task"
)

// moveMountBeneath is MOVE_MOUNT_BENEATH, since Linux 6.5.
const moveMountBeneath = 0x200

// An attached is a mount of ours in a machine, and what to take back if nobody
// wants it any more.
type attached struct {
	leader *proc.PIDFD
	tree   *os.File
	id     uint64
	made   []inode
}

func (a *attached) close() {
	a.tree.Close()
	closeInodes(a.made)
}

// attach mounts tree, which it owns, at b's destination below root. If that
// fails, nothing is left of it.
func (g *Guard) attach(leader *proc.PIDFD, root, tree *os.File, b Bind) (*attached, error) {
	a := &attached{leader: leader, tree: tree}
	err := g.tryAttach(a, root, b)
	if err != nil {
		removeInodes(a.made)
		a.close()
		return nil, err
	}
	return a, nil
}

func (g *Guard) tryAttach(a *attached, root *os.File, b Bind) error {
	target, made, err := openTarget(a.leader, root, a.tree, b)
	if err != nil {
		return err
	}
	defer target.Close()
	a.made = made
	look, err := lookAt(a.tree)
	if err != nil {
		return err
	}
	// First remember, then mount: a daemon that is killed in between remembers
	// a mount that never was, and no mount will ever have its id.
	a.id = look.id
	if err := g.binds.add(a.leader, a.id); err != nil {
		return err
	}
	err = inMountNamespace(a.leader, func(t mountThread) error { return t.move(a.tree, target) })
	if err != nil {
		g.binds.remove(a.leader, a.id)
		return fmt.Errorf("cannot mount: %w", err)
	}
	return nil
}

// takeBack undoes an attach that took longer than its caller could wait. A
// machine that is gone took the mount along; nobody may wait for its lane here,
// because it is ours then.
func (g *Guard) takeBack(a *attached) {
	if !a.leader.Alive() {
		defer a.close()
		removeInodes(a.made)
		return
	}
	var begun atomic.Bool
	undo := func() (struct{}, error) {
		if begun.Swap(true) {
			return struct{}{}, os.ErrClosed
		}
		defer a.close()
		err := inMountNamespace(a.leader, func(t mountThread) error { return t.unmount(a.tree) })
		removeInodes(a.made)
		g.binds.remove(a.leader, a.id)
		return struct{}{}, err
	}
	_, err := lookUp(context.Background(), g, keyOf(a.leader), undo, nothing)
	if err != nil {
		g.log.Warn("A late bind mount may stay in a machine.", "leader", a.leader.PID(), "error", err)
	}
	if !begun.Swap(true) {
		a.close()
	}
}

// A mountThread is a thread in a machine's mount namespace that will be thrown
// away. descriptors is the directory of our descriptors on the host's procfs,
// which stays usable there.
type mountThread struct{ descriptors int }

// inMountNamespace runs do on a thread in the mount namespace of leader.
func inMountNamespace(leader *proc.PIDFD, do func(mountThread) error) error {
	return task.OnThread(func() error {
		dir, err := unix.Open("/proc/thread-self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open the directory of descriptors: %w", err)
		}
		defer unix.Close(dir)
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("cannot leave the other threads: %w", err)
		}
		if err := leader.WithFD(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNS) }); err != nil {
			return fmt.Errorf("cannot enter the mount namespace of process %d: %w", leader.PID(), err)
		}
		return do(mountThread{dir})
	})
}

// move mounts tree beneath what is mounted at target and unmounts that, so that
// binds to one place do not pile up. Where nothing is mounted, or where the
// kernel cannot mount beneath, it goes on top.
func (t mountThread) move(tree, target *os.File) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	from, to := int(tree.Fd()), int(target.Fd())
	err := unix.MoveMount(from, "", to, "", flags|moveMountBeneath)
	if err == nil {
		return t.unmount(target)
	}
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	return unix.MoveMount(from, "", to, "", flags)
}

// unmount unmounts what is mounted where f is, though it be in use.
func (t mountThread) unmount(f *os.File) error {
	// The path must be that of the descriptor: any other one could lead
	// elsewhere by now.
	if err := unix.Fchdir(t.descriptors); err != nil {
		return fmt.Errorf("cannot enter the directory of descriptors: %w", err)
	}
	if err := unix.Unmount(strconv.Itoa(int(f.Fd())), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot unmount: %w", err)
	}
	return nil
}

// A mountLook is what the kernel tells of the mount a file is on.
type mountLook struct {
	id    uint64 // never used again until the next boot; before Linux 6.8 it is
	root  bool   // the file is where the mount begins
	inode uint64
}

func lookAt(f *os.File) (mountLook, error) {
	// No file system is asked to refresh anything: it may not answer.
	const flags = unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC
	var stat unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", flags, unix.STATX_INO|unix.STATX_MNT_ID_UNIQUE, &stat)
	if err == nil && stat.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		err = unix.Statx(int(f.Fd()), "", flags, unix.STATX_INO|unix.STATX_MNT_ID, &stat)
	}
	if err != nil {
		return mountLook{}, fmt.Errorf("cannot tell the mount of %s: %w", f.Name(), err)
	}
	return mountLook{stat.Mnt_id, stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, stat.Ino}, nil
}
