package inside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// acceptLimit is how long connect may wait for room in the queue of the bus. It
// is below lookUpLimit so that a full queue is not taken for a file system that
// hangs.
const acceptLimit = 3 * time.Second

// busSockets are the places of a system bus below a machine's root. The second
// is for systems where /var/run is a directory of its own.
var busSockets = []string{"run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket"}

// errNoBus says that there is no socket of a system bus.
var errNoBus = fmt.Errorf("there is no system bus: %w", machine1.ErrFileNotFound)

// dialBus connects to the machine's system bus as the machine's root, says hello
// and makes more calls, before ctx ends. The connection lives until the caller
// closes it.
func (g *Guard) dialBus(ctx context.Context, leader *proc.PIDFD, more ...dbus.Message) (*peer, error) {
	open := func(root *os.File) (net.Conn, error) { return connectBus(root, leader) }
	conn, err := below(ctx, g, leader, open, func(c net.Conn) { c.Close() })
	if err != nil {
		return nil, err
	}
	return greet(ctx, conn, more)
}

// greet says hello on conn, which it takes over, and makes more calls.
func greet(ctx context.Context, conn net.Conn, more []dbus.Message) (*peer, error) {
	p := newPeer(conn)
	if err := p.enter(ctx, more...); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

var errSilentBus = fmt.Errorf("the bus does not answer, the machine may still be booting: %w", machine1.ErrTimeout)

func connectBus(root *os.File, leader *proc.PIDFD) (net.Conn, error) {
	self, err := rootOf(leader)
	if err != nil {
		return nil, err
	}
	target, err := openBusSocket(root)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "bus")
	defer socket.Close() // net.FileConn makes its own
	if err := asPeer(self, func() error { return connect(fd, target) }); err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return net.FileConn(socket)
}

func connect(fd int, target *os.File) error {
	deadline := time.Now().Add(acceptLimit)
	for left := acceptLimit; left > 0; left = time.Until(deadline) {
		limit := unix.NsecToTimeval(left.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
			return err
		}
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: rootfs.DescriptorPath(target)})
		if errors.Is(err, unix.EAGAIN) {
			return errSilentBus
		}
		if !errors.Is(err, unix.EINTR) { // the Go runtime sends itself signals
			return err
		}
	}
	return errSilentBus
}

// openBusSocket opens the bus's socket with O_PATH. One on FUSE is refused:
// connecting happens with ids for which such a file system may hang.
func openBusSocket(root *os.File) (*os.File, error) {
	for _, path := range busSockets {
		f, err := rootfs.Lookup(root, path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := checkBusSocket(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s %w", path, err)
		}
		return f, nil
	}
	return nil, errNoBus
}

func checkBusSocket(f *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK || fs.Type == unix.FUSE_SUPER_MAGIC {
		return fmt.Errorf("is no socket that can be used: %w", unix.ENOTSOCK)
	}
	return nil
}
