package nsexec

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

// grace is what a command that is ended has between SIGTERM and SIGKILL.
const grace = 2 * time.Second

// A process is a command that runs. Its parent is this process.
type process struct {
	*proc.PIDFD
	machine string
	leader  *proc.PIDFD
	cgroup  *cgroup
	ended   <-chan struct{} // closed when it can be reaped
	log     *slog.Logger
}

// Unit says that there is none.
func (p *process) Unit() string { return "" }

// Wait waits for the end of the command, and ends what it has started.
func (p *process) Wait(ctx context.Context) machd.Outcome {
	select {
	case <-p.ended:
	case <-ctx.Done():
		return machd.Outcome{Failure: machd.FailureLost, Message: fmt.Sprintf("The command does not end: %v", context.Cause(ctx))}
	}
	o := p.reap()
	if err := p.cgroup.clear(context.WithoutCancel(ctx)); err != nil {
		p.log.Warn("Cannot end what a command has started.", "machine", p.machine, "error", err)
	}
	return o
}

func (p *process) reap() machd.Outcome {
	status, err := reap(p.PID())
	switch {
	case err != nil:
		return machd.Outcome{Failure: machd.FailureLost, Message: fmt.Sprintf("How the command ended is not known: %v", err)}
	case status.Signaled() && status.Signal() == unix.SIGKILL && ends(p.leader):
		return machd.Outcome{Failure: machd.FailureLost, Message: fmt.Sprintf("Machine %s has ended, and the command with it", p.machine)}
	case status.Signaled():
		return machd.Outcome{Signal: int(status.Signal())}
	}
	exit := status.ExitStatus()
	return machd.Outcome{Exit: &exit}
}

func reap(pid int) (status unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(pid, &status, 0, nil)
		if err != unix.EINTR {
			return status, err
		}
	}
}

// ends reports whether the leader has ended, or is about to: it kills all others
// of its PID namespace first.
func ends(leader *proc.PIDFD) bool {
	if !leader.Alive() {
		return true
	}
	const exiting = 0x4 // PF_EXITING
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", leader.PID()))
	if err != nil {
		return true
	}
	// The name, which may have any character in it, is in parentheses.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const flags = 6
	if len(fields) <= flags {
		return false
	}
	value, _ := strconv.ParseUint(string(fields[flags]), 10, 32)
	return value&exiting != 0
}

// Signal sends a signal to the command, and not to what it has started.
func (p *process) Signal(_ context.Context, signal int) error {
	return p.PIDFD.Signal(unix.Signal(signal))
}

// Stop asks the command to end, and after a moment ends it and all that it has
// started.
func (p *process) Stop(ctx context.Context) error {
	_ = p.PIDFD.Signal(unix.SIGHUP) // it may have ended
	_ = p.PIDFD.Signal(unix.SIGTERM)
	_ = p.PIDFD.Signal(unix.SIGCONT)
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
	case <-ctx.Done():
	}
	return p.cgroup.kill()
}

// Close forgets the process.
func (p *process) Close() error {
	p.leader.Close()
	p.cgroup.close()
	return p.PIDFD.Close()
}
