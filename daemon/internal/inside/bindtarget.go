package inside

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/daemon/internal/task"
)

// Modes of what is made for a bind.
const (
	madeParentMode    = 0o755
	madeDirectoryMode = 0o700
	madeFileMode      = 0o600
)

// openTarget opens b's destination below root, and makes it if b wants that.
// The caller closes the file and what was made, or removes the latter.
func openTarget(leader *proc.PIDFD, root, tree *os.File, b Bind) (*os.File, []inode, error) {
	target, err := openPlace(root, b.Destination)
	var made []inode
	if b.MakeDir && errors.Is(err, unix.ENOENT) {
		target, made, err = makeTarget(leader, root, tree, b.Destination)
	} else if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("there is no %s in the machine: %w", b.Destination, unix.ENOENT)
	}
	if err == nil {
		if err = checkTarget(root, tree, target); err == nil {
			return target, made, nil
		}
		target.Close()
	}
	removeInodes(made)
	closeInodes(made)
	return nil, nil, err
}

// openPlace opens path below root with O_PATH, where something can be mounted.
// As the kernel mounts on links, one at the end is not followed.
func openPlace(root *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := rootfs.Retry(func() (int, error) { return unix.Openat2(int(root.Fd()), path, &how) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// checkTarget refuses what the kernel does, and says why. It refuses the root
// directory as well: nothing in the machine would see the mount, but everything
// that comes into it.
func checkTarget(root, tree, target *os.File) error {
	source, err := fileType(tree)
	if err != nil {
		return err
	}
	destination, err := fileType(target)
	switch {
	case err != nil:
		return err
	case source == unix.S_IFDIR && destination == unix.S_IFLNK:
		return fmt.Errorf("the source is a directory and the destination is a symbolic link; "+
			"name what that leads to: %w", unix.EINVAL)
	case source == unix.S_IFDIR && destination != unix.S_IFDIR:
		return fmt.Errorf("the source is a directory and the destination is not: %w", unix.EINVAL)
	case source != unix.S_IFDIR && destination == unix.S_IFDIR:
		return fmt.Errorf("the source is no directory and the destination is one: %w", unix.EINVAL)
	}
	a, err := lookAt(root)
	if err != nil {
		return err
	}
	b, err := lookAt(target)
	if err != nil {
		return err
	}
	if a.id == b.id && a.inode == b.inode {
		return fmt.Errorf("the destination is the machine's root directory: %w", unix.EINVAL)
	}
	return nil
}

// fileType is one of unix.S_IFDIR and its like.
func fileType(f *os.File) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("cannot look at %s: %w", f.Name(), err)
	}
	return stat.Mode & unix.S_IFMT, nil
}

// makeTarget makes what is missing of path below root: directories, and at its
// end what can be a mount point for tree.
func makeTarget(leader *proc.PIDFD, root, tree *os.File, path string) (*os.File, []inode, error) {
	kind, err := fileType(tree)
	if err != nil {
		return nil, nil, err
	}
	directory := kind == unix.S_IFDIR
	if !directory && strings.HasSuffix(path, "/") {
		return nil, nil, fmt.Errorf("the source is no directory, but %s can only be one: %w", path, unix.ENOTDIR)
	}
	m, err := newMaker(leader, root)
	if err != nil {
		return nil, nil, err
	}
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, name := range names {
		mode := uint32(unix.S_IFDIR | madeParentMode)
		if i == len(names)-1 {
			mode = unix.S_IFREG | madeFileMode
			if directory {
				mode = unix.S_IFDIR | madeDirectoryMode
			}
		}
		// Links are followed from the root on, as always.
		next, err := rootfs.Lookup(root, strings.Join(names[:i+1], "/"))
		if errors.Is(err, unix.ENOENT) {
			next, err = m.add(name, mode)
		}
		if err != nil {
			m.at.Close()
			removeInodes(m.made)
			closeInodes(m.made)
			return nil, nil, err
		}
		m.at.Close()
		m.at = next
	}
	return m.at, m.made, nil
}

// A maker walks down a path and makes what is missing as the machine's root
// would make it.
type maker struct {
	owner         identity
	users, groups proc.IDMap
	at            *os.File // the directory it has come to
	made          []inode
}

func newMaker(leader *proc.PIDFD, root *os.File) (*maker, error) {
	owner, err := rootOf(leader)
	if err != nil {
		return nil, err
	}
	users, err := leader.UIDMap()
	if err != nil {
		return nil, err
	}
	groups, err := leader.GIDMap()
	if err != nil {
		return nil, err
	}
	at, err := rootfs.Lookup(root, "/")
	if err != nil {
		return nil, err
	}
	return &maker{owner: owner, users: users, groups: groups, at: at}, nil
}

// add makes name in the directory the maker is at, and opens it.
func (m *maker) add(name string, mode uint32) (*os.File, error) {
	parent, err := rootfs.Lookup(m.at, ".")
	if err != nil {
		return nil, err
	}
	lord := m.rulesOver(parent)
	err = task.OnThread(func() error {
		if err := m.become(lord); err != nil {
			return err
		}
		return makeInode(parent, name, mode)
	})
	if err != nil {
		parent.Close()
		return nil, fmt.Errorf("cannot make %s in the machine: %w", name, err)
	}
	m.made = append(m.made, inode{parent, name, mode&unix.S_IFMT == unix.S_IFDIR})
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV,
	}
	fd, err := rootfs.Retry(func() (int, error) { return unix.Openat2(int(parent.Fd()), name, &how) })
	if err != nil {
		return nil, fmt.Errorf("cannot open %s, which was just made: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// rulesOver reports whether the machine's root may do anything in dir: whether
// its owner is one of the machine's.
func (m *maker) rulesOver(dir *os.File) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return false
	}
	_, user := m.users.Inside(stat.Uid)
	_, group := m.groups.Inside(stat.Gid)
	return user && group
}

// become turns the thread, which will be thrown away, into the machine's root.
// One that is lord keeps the power over directories of others, which goes with
// the file system ids.
func (m *maker) become(lord bool) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("cannot leave the other threads: %w", err)
	}
	unix.Umask(0)
	if err := setFSIDs(m.owner); err != nil {
		return err
	}
	if !lord {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot tell our capabilities: %w", err)
	}
	const powers = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	sets[0].Effective |= powers & sets[0].Permitted
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot set our capabilities: %w", err)
	}
	return nil
}

func makeInode(parent *os.File, name string, mode uint32) error {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mkdirat(int(parent.Fd()), name, mode&^unix.S_IFMT)
	}
	return unix.Mknodat(int(parent.Fd()), name, mode, 0)
}

// An inode is something that was made.
type inode struct {
	parent    *os.File
	name      string
	directory bool
}

// removeInodes removes what was made, the last first, as far as it is still
// empty.
func removeInodes(made []inode) {
	for i := len(made) - 1; i >= 0; i-- {
		flags := 0
		if made[i].directory {
			flags = unix.AT_REMOVEDIR
		} else if !made[i].empty() {
			continue
		}
		unix.Unlinkat(int(made[i].parent.Fd()), made[i].name, flags)
	}
}

// empty reports whether i is an empty regular file yet.
func (i inode) empty() bool {
	var stat unix.Stat_t
	err := unix.Fstatat(int(i.parent.Fd()), i.name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Size == 0
}

func closeInodes(made []inode) {
	for _, i := range made {
		i.parent.Close()
	}
}
