package main

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// park is the machines: each a process in a network namespace and a scope of
// its own.
type park struct{ leaders []*exec.Cmd }

func (p *park) grow(ctx context.Context, n int) error {
	c, err := client.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for len(p.leaders) < n {
		leader := exec.Command("sleep", "infinity")
		leader.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if err := leader.Start(); err != nil {
			return fmt.Errorf("cannot start a machine's leader: %w", err)
		}
		p.leaders = append(p.leaders, leader)
		err := c.RegisterInScope(ctx, client.Registration{
			Name:    machineName(len(p.leaders)),
			Service: "bench",
			Class:   machine1.ClassContainer,
			Leader:  uint32(leader.Process.Pid),
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func machineName(i int) string { return fmt.Sprintf("bench-%04d", i) }

func (p *park) clear() {
	for _, leader := range p.leaders {
		leader.Process.Kill()
	}
	for _, leader := range p.leaders {
		leader.Wait()
	}
}
