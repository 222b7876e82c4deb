package client

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// What Kill can send a signal to.
const (
	WhomAll        = "all"        // every process of the machine
	WhomLeader     = "leader"     // the machine's init
	WhomSupervisor = "supervisor" // what runs the machine from outside
)

// signalPowerOff asks systemd, as an init, for an orderly power-off:
// SIGRTMIN+4 of the C library, whose SIGRTMIN is 34.
const signalPowerOff = unix.Signal(38)

// Kill sends a signal to processes of the machine. An empty whom means
// WhomAll.
//
// Reference: org.freedesktop.machine1(5), KillMachine.
func (c *Client) Kill(ctx context.Context, name, whom string, signal unix.Signal) error {
	if err := c.tell(ctx, "KillMachine", []any{name, whom, int32(signal)}); err != nil {
		return fmt.Errorf("cannot kill %q: %w", name, err)
	}
	return nil
}

// PowerOff asks the machine's init to shut down and does not wait for it: see
// WatchGone. An init that is not systemd may ignore that. It is a signal to the
// leader, as that of machinectl poweroff.
// What runs a virtual machine is told to press its power button, where it can be
// told: a signal would end the machine as if it lost power.
func (c *Client) PowerOff(ctx context.Context, name string) error {
	err := c.orInstance(ctx, name, instancePowerOff, func() error {
		return c.tell(ctx, "KillMachine", []any{name, WhomLeader, int32(signalPowerOff)})
	})
	if err != nil {
		return fmt.Errorf("cannot stop %q: %w", name, err)
	}
	return nil
}

// Reboot asks the machine's init to shut down and start again.
func (c *Client) Reboot(ctx context.Context, name string) error {
	err := c.orInstance(ctx, name, instanceReboot, func() error {
		return c.tell(ctx, "KillMachine", []any{name, WhomLeader, int32(unix.SIGINT)})
	})
	if err != nil {
		return fmt.Errorf("cannot reboot %q: %w", name, err)
	}
	return nil
}

// Terminate ends the machine without asking its init, by stopping its unit. It
// does not wait: see WatchGone. systemd-nspawn, which has to end then, asks the
// init after all, and may wait for it for minutes: TerminateAndWait of machd does
// not.
//
// Reference: org.freedesktop.machine1(5), TerminateMachine.
func (c *Client) Terminate(ctx context.Context, name string) error {
	err := c.orInstance(ctx, name, instanceTerminate, func() error { return c.tell(ctx, "TerminateMachine", []any{name}) })
	if err != nil {
		return fmt.Errorf("cannot terminate %q: %w", name, err)
	}
	return nil
}
