package launch

import (
	"context"
	"os"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/varlink"
)

// controlGrace is how long what runs a virtual machine has to take an order.
const controlGrace = 5 * time.Second

// controlSocket returns where what runs the virtual machine takes orders, or "".
// Whoever has no more rights than a user could name the socket of another's
// machine, so it has to be from one who has ours.
func controlSocket(m machine.Machine) string {
	if m.Class != machine1.ClassVM || int(m.UID) != os.Geteuid() {
		return ""
	}
	return m.ControlAddress
}

// pressPowerButton has the firmware of a virtual machine tell its system to shut
// down. A machine that is paused has to go on to hear it.
//
// Reference: io.systemd.MachineInstance of systemd-vmspawn 261 and later.
func pressPowerButton(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, controlGrace)
	defer cancel()
	conn, err := varlink.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	// It refuses that while the machine runs.
	_, _ = conn.Call(ctx, "io.systemd.MachineInstance.Resume", nil, nil)
	_, err = conn.Call(ctx, "io.systemd.MachineInstance.PowerOff", nil, nil)
	return err
}
