package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
)

// A PTY is a new pseudo terminal of a machine. Its owner closes it.
type PTY struct {
	Master *os.File // without O_NONBLOCK
	Path   string   // of the other end, inside the machine: /dev/pts/N
	N      int
}

// OpenPTY opens a new pseudo terminal in the machine, owned by its root.
//
// Reference: machine-dbus.c, bus_machine_method_open_pty.
func (g *Guard) OpenPTY(ctx context.Context, leader *proc.PIDFD) (*PTY, error) {
	if g.takesErrand(leader) {
		return g.terminalBy(ctx, leader, errand{Do: doOpenPTY})
	}
	open := openHostPTY
	if leader != nil {
		open = func(root *os.File) (*PTY, error) { return openMachinePTY(root, leader) }
	}
	p, err := below(ctx, g, leader, open, func(p *PTY) { p.Close() })
	if err != nil {
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	return p, nil
}

// Peer opens the other end for the caller, who closes it.
func (p *PTY) Peer() (*os.File, error) {
	// A process inside may be hanging up the terminal just now; the kernel
	// says EIO for that moment.
	const pause, attempts = 50 * time.Millisecond, 20
	for attempt := 1; ; attempt++ {
		fd, err := p.control(unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if err == nil {
			return os.NewFile(uintptr(fd), p.Path), nil
		}
		if !errors.Is(err, unix.EIO) || attempt == attempts {
			return nil, fmt.Errorf("cannot open the other end of terminal %s: %w", p.Path, err)
		}
		<-time.After(pause)
	}
}

// Close closes the master. Processes on the other end are hung up.
func (p *PTY) Close() error { return p.Master.Close() }

// control is ioctl for requests that take a number and return one.
func (p *PTY) control(request uint, arg int) (int, error) {
	raw, err := p.Master.SyscallConn()
	if err != nil {
		return -1, err
	}
	result := -1
	var failure error
	err = raw.Control(func(fd uintptr) {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
		if errno != 0 {
			failure = errno
			return
		}
		result = int(r)
	})
	return result, errors.Join(err, failure)
}

func openHostPTY(*os.File) (*PTY, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	return newPTY(fd)
}

func openMachinePTY(root *os.File, leader *proc.PIDFD) (*PTY, error) {
	owner, err := rootOf(leader)
	if err != nil {
		return nil, err
	}
	ptmx, err := rootfs.Lookup(root, "dev/pts/ptmx")
	if err != nil {
		return nil, err
	}
	defer ptmx.Close()
	if err := checkPTMX(ptmx); err != nil {
		return nil, fmt.Errorf("dev/pts/ptmx %w", err)
	}
	fd := -1
	err = asFileOwner(owner, func() (err error) {
		fd, err = rootfs.Reopen(ptmx, unix.O_RDWR)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "reopen", Path: "dev/pts/ptmx", Err: err}
	}
	return newPTY(fd)
}

// checkPTMX reports why f is not the multiplexer of a devpts. The device number
// alone is not enough: elsewhere that device stands for the host's terminals.
func checkPTMX(f *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFCHR || stat.Rdev != unix.Mkdev(5, 2) {
		return fmt.Errorf("is no terminal multiplexer: %w", unix.ENODEV)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return fmt.Errorf("is not on a devpts: %w", unix.ENODEV)
	}
	return nil
}

// newPTY takes over fd, a master that is still locked.
func newPTY(fd int) (*PTY, error) {
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("cannot set up the terminal: %w", err)
	}
	return &PTY{Master: master, Path: fmt.Sprintf("/dev/pts/%d", n), N: int(n)}, nil
}
