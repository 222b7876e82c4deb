package nsexec

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// Nspawn is the service that registers a machine before it has made its leader
// what that will be.
const Nspawn = "systemd-nspawn"

// stubs are the names of a leader that stays systemd-nspawn.
//
// Reference: nspawn-stub-pid1.c, stub_pid1.
var stubs = []string{"(sd-stubinit)", "STUBINIT"}

// setupPause is between two looks.
const setupPause = 2 * time.Millisecond

var errSetup = machine1.Errorf(machine1.ErrTimeout, "The machine is still being set up; try again")

// AwaitSetup waits until systemd-nspawn has made the leader what it is to be:
// until then its root is another, and it may more than the machine will be
// allowed to.
func AwaitSetup(ctx context.Context, leader *proc.PIDFD) error {
	ctx, cancel := context.WithTimeoutCause(ctx, enterLimit, errSetup)
	defer cancel()
	for {
		pending, err := inSetup(leader)
		if err != nil || !pending {
			return orGone(leader, err)
		}
		select {
		case <-time.After(setupPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// inSetup reports whether the leader still runs the program of its parent.
func inSetup(leader *proc.PIDFD) (bool, error) {
	name, err := leader.Comm()
	if err != nil {
		return false, err
	}
	for _, stub := range stubs {
		if name == stub {
			return false, nil
		}
	}
	parent, err := leader.Parent()
	if err != nil || parent == nil {
		return false, err // systemd-nspawn has ended: nobody sets up anything
	}
	defer parent.Close()
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", parent.PID()))
	if err != nil {
		return false, err
	}
	own, err := os.Stat(fmt.Sprintf("/proc/%d/exe", leader.PID()))
	if err != nil {
		return false, err
	}
	return os.SameFile(own, theirs), nil
}
