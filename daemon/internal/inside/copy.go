package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// Ownership says who owns copies between the host and a machine.
type Ownership int

const (
	// OwnershipFlat keeps owners where the machine's users are the host's;
	// else everything is made root's of the side it comes to. It is what
	// systemd-machined does.
	OwnershipFlat Ownership = iota
	// OwnershipMapped keeps owners as each side sees them: user 1000 of the
	// one side becomes user 1000 of the other.
	OwnershipMapped
)

// A Copy is what to copy, and how. Both paths are as CheckCopy returns them.
type Copy struct {
	Source, Destination string
	Replace             bool // files that exist are replaced, else kept
	Ownership           Ownership
}

// CheckCopy returns the paths of a copy, the destination being the source if
// it is left out. Both must be absolute, normalized (ErrInvalidArgs) and other
// than / (EADDRNOTAVAIL).
//
// Reference: machine-dbus.c, bus_machine_method_copy.
func CheckCopy(source, destination string) (string, string, error) {
	source, destination, err := CheckBind(source, destination)
	if err != nil {
		return "", "", err
	}
	if source == "/" || destination == "/" {
		return "", "", machine1.Errorf(unix.EADDRNOTAVAIL,
			"Failed to extract file name of '/' path: Cannot assign requested address")
	}
	return source, destination, nil
}

// CopyFrom copies Source of the machine to Destination of the host. Links that
// lead to either are followed on their own side, never those at the end or in
// the tree. What a machine's kernel makes up as it is read (procfs, sysfs, …)
// is refused with EOPNOTSUPP.
//
// Modes are kept, set-user-id bits too: with OwnershipFlat and a machine with
// ids of its own, where all becomes root's, whoever may copy trusts all users
// of the machine, as with systemd-machined.
//
// Reference: machine-dbus.c, bus_machine_method_copy.
func (g *Guard) CopyFrom(ctx context.Context, leader *proc.PIDFD, c Copy) error {
	return g.copy(ctx, leader, c, fromMachine)
}

// CopyTo copies Source of the host to Destination of the machine, as CopyFrom
// does. In a machine with ids of its own, only directories are written to that
// its own root could write to; others are EACCES. One without a root gets none
// (ENXIO).
func (g *Guard) CopyTo(ctx context.Context, leader *proc.PIDFD, c Copy) error {
	return g.copy(ctx, leader, c, toMachine)
}

// A direction is where a copy goes.
type direction int

const (
	fromMachine direction = iota
	toMachine
)

// copy answers when the copy is complete, or soon after ctx ended: what a
// machine keeps from ending is left to itself.
func (g *Guard) copy(ctx context.Context, leader *proc.PIDFD, c Copy, to direction) error {
	if leader == nil {
		return machine1.Errorf(machine1.ErrNotSupported, "Copying files is only supported on container machines.")
	}
	var err error
	if c.Source, c.Destination, err = CheckCopy(c.Source, c.Destination); err != nil {
		return err
	}
	options, err := copyOptions(leader, c, to)
	if err := orGone(leader, err); err != nil {
		return fmt.Errorf("cannot copy: %w", err)
	}
	theirs, own := c.Source, c.Destination
	if to == toMachine {
		theirs, own = c.Destination, c.Source
	}
	theirDir, theirName := path.Split(path.Clean(theirs))
	ownDir, ownName := path.Split(path.Clean(own))
	open := func(root *os.File) (*os.File, error) { return openAround(root, theirDir, theirName) }
	inMachine, err := below(ctx, g, leader, open, closeFile)
	if err != nil {
		return missing(err, theirDir, "in the machine")
	}
	return g.runCopy(ctx, keyOf(leader), func(ctx context.Context) error {
		defer inMachine.Close()
		onHost, err := os.OpenFile(ownDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return missing(err, ownDir, "on the host")
		}
		defer onHost.Close()
		if to == toMachine {
			err = filetree.Copy(ctx, onHost, ownName, inMachine, theirName, options)
			err = taken(err, inMachine, theirName, c.Destination, "in the machine")
			return absent(err, onHost, ownName, c.Source, "on the host")
		}
		err = filetree.Copy(ctx, inMachine, theirName, onHost, ownName, options)
		err = taken(err, onHost, ownName, c.Destination, "on the host")
		return absent(err, inMachine, theirName, c.Source, "in the machine")
	}, func() { inMachine.Close() })
}

// missing names the directory that could not be opened, and whose it is.
func missing(err error, dir, where string) error {
	if errors.Is(err, unix.ENOENT) {
		return machine1.Errorf(unix.ENOENT, "there is no directory %s %s", path.Clean(dir), where)
	}
	return fmt.Errorf("cannot copy %s: %w", where, err)
}

// absent names the source if it is that which is not there.
func absent(err error, dir *os.File, name, source, where string) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	var stat unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT {
		return machine1.Errorf(unix.ENOENT, "there is no %s %s", source, where)
	}
	return err
}

// taken names what has the destination's name and does not make way.
func taken(err error, dir *os.File, name, destination, where string) error {
	var stat unix.Stat_t
	if err == nil || unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return err
	}
	isDirectory := stat.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case errors.Is(err, unix.EEXIST) && isDirectory:
		return fmt.Errorf("%s is a directory %s: %w", destination, where, unix.EEXIST)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s is there %s already: %w", destination, where, unix.EEXIST)
	case errors.Is(err, unix.ENOTDIR) && !isDirectory:
		return machine1.Errorf(unix.ENOTDIR, "%s %s is no directory", destination, where)
	}
	return err
}

// openAround opens the directory at path below root with O_PATH, and looks at
// name in it. That is for a file system that never answers: the directory may
// be known without asking it, and a copy would wait for the name without limit.
// Whether the name is there does not matter yet.
func openAround(root *os.File, path, name string) (*os.File, error) {
	dir, err := openDirectory(root, path)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	_ = unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return dir, nil
}

// openDirectory opens the directory at path below root with O_PATH.
func openDirectory(root *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := rootfs.Retry(func() (int, error) { return unix.Openat2(int(root.Fd()), path, &how) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
