package proc

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNotTold says that it cannot be told how a process ended: it has not, its
// parent has yet to hear of it, or the kernel is older than Linux 6.15.
var ErrNotTold = errors.New("how the process ended is not told")

// WaitStatus returns how the process ended, which may be somebody else's child.
func (p *PIDFD) WaitStatus() (unix.WaitStatus, error) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := p.WithFD(func(fd int) error { return unix.IoctlPidfdInfo(fd, &info) }); err != nil {
		return 0, fmt.Errorf("cannot ask about process %d: %w: %w", p.PID(), ErrNotTold, err)
	}
	if info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, fmt.Errorf("process %d: %w", p.PID(), ErrNotTold)
	}
	return unix.WaitStatus(info.Exit_code), nil
}
