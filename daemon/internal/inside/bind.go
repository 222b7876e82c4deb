package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A Bind is a file or directory of the host that is to appear in a machine.
// Mounts below the source are not part of it.
type Bind struct {
	Source      string // on the host; links are followed there
	Destination string // in the machine; links that lead to it are followed there. "" is Source
	ReadOnly    bool
	MakeDir     bool // make the destination and what leads to it
	IDMapped    bool // every owner gets the id inside that it has on the host
}

// CheckBind returns the two paths, the destination being the source if it is
// left out. Both must be absolute and normalized, else it is ErrInvalidArgs.
//
// Reference: machine-dbus.c, bus_machine_method_bind_mount.
func CheckBind(source, destination string) (string, string, error) {
	if !normalized(source) {
		return "", "", machine1.Errorf(machine1.ErrInvalidArgs, "Source path must be absolute and normalized.")
	}
	if destination == "" {
		destination = source
	}
	if !normalized(destination) {
		return "", "", machine1.Errorf(machine1.ErrInvalidArgs, "Destination path must be absolute and normalized.")
	}
	return source, destination, nil
}

// normalized reports whether p is absolute and has no empty component, "." or
// "..". A slash at the end is allowed.
//
// Reference: path-util.c, path_is_normalized.
func normalized(p string) bool {
	if len(p) >= unix.PathMax || !strings.HasPrefix(p, "/") || strings.Contains(p, "\x00") {
		return false
	}
	return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/") && p != "//"
}

// Bind shows a file or directory of the host in the machine called name. What
// was mounted at the destination before is unmounted. A destination that is a
// link is itself covered by a file; a directory cannot be put there. A machine
// with ids of its own is refused with ErrNotSupported unless the bind is
// IDMapped. What is mounted below it later, on either side, stays on that side.
//
// ReadOnly is no barrier for a root inside that may mount: it can make the
// mount writable again.
//
// Reference: namespace.c, bind_mount_in_namespace.
func (g *Guard) Bind(ctx context.Context, leader *proc.PIDFD, name string, b Bind) error {
	var err error
	if b.Source, b.Destination, err = CheckBind(b.Source, b.Destination); err != nil {
		return err
	}
	if !b.IDMapped {
		if err := checkShift(leader); err != nil {
			return err
		}
	}
	if err := orGone(leader, g.bind(ctx, leader, b)); err != nil {
		return machine1.Errorf(err, "Failed to mount %s on %s in machine's namespace: %v", b.Source, b.Destination, err)
	}
	g.log.Debug("Bind mount made.", "machine", name, "source", b.Source, "destination", b.Destination)
	return nil
}

// checkShift refuses machines with ids of their own, as the reference does.
func checkShift(leader *proc.PIDFD) error {
	shift, err := leader.UIDShift()
	switch {
	case errors.Is(err, proc.ErrComplexMapping):
		return fmt.Errorf("cannot bind mount: %w (%w)", err, unix.ENXIO)
	case err != nil:
		return fmt.Errorf("cannot bind mount: %w", orGone(leader, err))
	case shift != 0:
		return machine1.Errorf(machine1.ErrNotSupported, "Can't bind mount on container with user namespacing applied.")
	}
	return nil
}

func (g *Guard) bind(ctx context.Context, leader *proc.PIDFD, b Bind) error {
	if err := checkMountNamespace(leader); err != nil {
		return err
	}
	opened, err := lookUp(ctx, g, g.sourceLane(), func() (*os.File, error) { return openSource(leader, b) }, closeFile)
	if err != nil {
		return err
	}
	tree := &handOver{file: opened}
	defer tree.closeUntaken()
	attach := func(root *os.File) (*attached, error) {
		tree, ok := tree.take()
		if !ok {
			return nil, os.ErrClosed // the caller has given up
		}
		return g.attach(leader, root, tree, b)
	}
	done, err := below(ctx, g, leader, attach, g.takeBack)
	if err != nil {
		return err
	}
	done.close()
	return nil
}

// checkMountNamespace refuses a leader in our own mount namespace: its machine
// is no place of its own.
func checkMountNamespace(leader *proc.PIDFD) error {
	if leader == nil {
		return fmt.Errorf("the machine has no leader: %w", unix.EINVAL)
	}
	ours, err := leader.SameNamespace("mnt")
	if err != nil {
		return err
	}
	if ours {
		return fmt.Errorf("the machine has no mount namespace of its own: %w", unix.EINVAL)
	}
	return nil
}

// sourceLane returns a lane for one look-up in the host's files. A source that
// hangs, on a network file system say, is nobody else's trouble.
func (g *Guard) sourceLane() laneKey {
	const noProcess = -1
	return laneKey{id: g.sources.Add(1), pid: noProcess}
}

// A handOver is a file on its way from one goroutine to another. It belongs to
// the one that takes it.
type handOver struct {
	file  *os.File
	taken atomic.Bool
}

func (h *handOver) take() (*os.File, bool) { return h.file, !h.taken.Swap(true) }

func (h *handOver) closeUntaken() {
	if f, ok := h.take(); ok {
		f.Close()
	}
}
