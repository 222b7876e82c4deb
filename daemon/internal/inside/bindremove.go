package inside

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// Unbind unmounts in the machine what Bind has put at destination, even if it
// is in use there. It must be what is seen at that place now. A place where
// nothing is mounted, and a mount that is not of our making, is EINVAL.
func (g *Guard) Unbind(ctx context.Context, leader *proc.PIDFD, destination string) error {
	if !normalized(destination) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Destination path must be absolute and normalized.")
	}
	err := checkMountNamespace(leader)
	if err == nil {
		detach := func(root *os.File) (struct{}, error) { return struct{}{}, g.detach(leader, root, destination) }
		_, err = below(ctx, g, leader, detach, nothing)
	}
	if err := orGone(leader, err); err != nil {
		return fmt.Errorf("cannot unbind %s: %w", destination, err)
	}
	return nil
}

func (g *Guard) detach(leader *proc.PIDFD, root *os.File, destination string) error {
	top, err := openPlace(root, destination)
	if err != nil {
		return err
	}
	defer top.Close()
	look, err := lookAt(top)
	if err != nil {
		return err
	}
	if !look.root {
		return fmt.Errorf("it is not a mount point: %w", unix.EINVAL)
	}
	ours, err := g.binds.has(leader, look.id)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("what is mounted there was not put there by a bind from the host, "+
			"so unmount it inside the machine: %w", unix.EINVAL)
	}
	err = inMountNamespace(leader, func(t mountThread) error { return t.unmount(top) })
	if err != nil {
		return err
	}
	return g.binds.remove(leader, look.id)
}
