// Package vmcontrol gives orders to what runs a virtual machine, and asks it, by
// the control socket of systemd-vmspawn.
//
// Reference: io.systemd.MachineInstance of systemd-vmspawn 261 and later.
package vmcontrol

import (
	"context"
	"os"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/varlink"
)

// grace is how long what runs a virtual machine has to take an order.
const grace = 5 * time.Second

const instance = "io.systemd.MachineInstance."

// Socket returns where what runs the virtual machine takes orders, or "".
// Whoever has no more rights than a user could name the socket of another's
// machine, so it has to be from one who has ours.
func Socket(m machine.Machine) string {
	if m.Class != machine1.ClassVM || int(m.UID) != os.Geteuid() {
		return ""
	}
	return m.ControlAddress
}

// PressPowerButton has the firmware of a virtual machine tell its system to shut
// down. A machine that is paused has to go on to hear it.
func PressPowerButton(ctx context.Context, socket string) error {
	// To go on is refused while the machine runs.
	return order(ctx, socket, "Resume", "PowerOff")
}

// Quit ends a virtual machine as if it lost power, with what it has written to its
// disks.
func Quit(ctx context.Context, socket string) error { return order(ctx, socket, "Terminate") }

// order calls methods one after the other, and returns the error of the last.
func order(ctx context.Context, socket string, methods ...string) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	conn, err := varlink.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, method := range methods {
		_, err = conn.Call(ctx, instance+method, nil, nil)
	}
	return err
}

// statusPaused is the status of a machine whose processors were stopped. There are
// other reasons for which they do not run.
const statusPaused = "paused"

// Paused reports whether a virtual machine was told to stand still.
func Paused(ctx context.Context, socket string) (bool, error) {
	conn, err := varlink.Dial(ctx, socket)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	var told struct {
		Status string `json:"status"`
	}
	_, err = conn.Call(ctx, instance+"Describe", nil, &told)
	return told.Status == statusPaused, err
}
