// Package netns asks the kernel about the network of a machine from outside:
// over a netlink socket of the host that names the machine's network namespace
// by its id. It enters no namespace and keeps no descriptor of a machine, so
// it keeps none alive. It knows processes and addresses, no names of machines.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A LinkAddress is an address and the index of the link that has it, in the
// namespace that the link is in.
type LinkAddress struct {
	Index int32
	Addr  netip.Addr // IPv4 or IPv6, without a zone
}

// LinkAddresses returns the addresses of the network namespace of leader, or of
// the host if leader is nil; the most useful first. An empty list is no
// error. A machine that is in the host's namespace has none of its own:
// ErrNoPrivateNetworking, with a text for the machine called name.
//
// Left out are addresses that are deprecated, still tentative, or of the scopes
// host and nowhere. IPv4 comes before IPv6; in each family the addresses of the
// link to the host come first and those of bridges and dummies inside last;
// then link-local ones after others; then scope, index and bytes decide.
//
// Reference: local-addresses.c, local_addresses; machine.c,
// machine_get_addresses. Putting the link to the host first is ours.
func LinkAddresses(ctx context.Context, leader *proc.PIDFD, name string) ([]LinkAddress, error) {
	var r Reader
	defer r.Close()
	return r.LinkAddresses(ctx, leader, name)
}

// A Reader asks about one machine after the other, over one socket. The zero
// value is ready; it is not for several goroutines at the same time.
type Reader struct{ conn *conn }

// Close releases what the Reader holds. It can be used on.
func (r *Reader) Close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// LinkAddresses is the function of that name.
func (r *Reader) LinkAddresses(ctx context.Context, leader *proc.PIDFD, name string) ([]LinkAddress, error) {
	list, err := r.linkAddresses(ctx, leader)
	if errors.Is(err, ErrShared) {
		return nil, machine1.Errorf(machine1.ErrNoPrivateNetworking,
			"Machine %s does not use private networking", name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get the addresses of %s: %w", name, err)
	}
	return list, nil
}

// Addresses is LinkAddresses without the links: every address once.
func Addresses(ctx context.Context, leader *proc.PIDFD, name string) ([]machine1.Address, error) {
	list, err := LinkAddresses(ctx, leader, name)
	if err != nil {
		return nil, err
	}
	out := make([]machine1.Address, 0, len(list))
	seen := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if !seen[a.Addr] {
			seen[a.Addr] = true
			out = append(out, machine1.Address{Family: family(a.Addr), Bytes: a.Addr.AsSlice()})
		}
	}
	return out, nil
}

// ErrShared says that a process is in our own network namespace.
var ErrShared = errors.New("the namespace is the host's")

func (r *Reader) linkAddresses(ctx context.Context, leader *proc.PIDFD) (list []LinkAddress, err error) {
	if r.conn == nil {
		if r.conn, err = dial(); err != nil {
			return nil, err
		}
	}
	defer func() {
		if r.conn.spent {
			r.Close()
		}
	}()
	return r.conn.linkAddresses(ctx, leader)
}

func (c *conn) linkAddresses(ctx context.Context, leader *proc.PIDFD) (list []LinkAddress, err error) {
	ns := ours
	if leader != nil {
		if ns, err = c.namespaceOf(leader); err != nil {
			return nil, err
		}
	}
	found, err := c.addresses(ctx, ns)
	if err != nil {
		return nil, err
	}
	var links []link
	if ns != ours && onSeveralLinks(found) {
		if links, err = c.links(ctx, ns); err != nil {
			return nil, err
		}
	}
	return sorted(found, links), nil
}

// An nsid names a network namespace among those the host's namespace knows.
type nsid int32

// ours is the namespace of this process, which needs no id.
const ours nsid = -1

// namespaceOf returns the id of leader's network namespace, giving it one if
// it has none yet. It returns ErrShared if the namespace is ours.
func (c *conn) namespaceOf(leader *proc.PIDFD) (nsid, error) {
	namespace, err := Open(leader)
	if err != nil {
		return 0, err
	}
	defer namespace.Close()
	return c.idOf(int(namespace.Fd()))
}

// Open opens the network namespace of leader, for who has to enter it. The
// caller closes it. The error wraps ErrShared if it is our own, unix.ESRCH if
// leader has ended.
func Open(leader *proc.PIDFD) (*os.File, error) {
	fd, err := openNamespace(leader)
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace: %w", err)
	}
	namespace := os.NewFile(uintptr(fd), "net")
	shared, err := isOurs(fd)
	if err == nil && !shared {
		return namespace, nil
	}
	namespace.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot compare network namespaces: %w", err)
	}
	return nil, ErrShared
}

// idOf returns the id of the namespace that fd is of.
func (c *conn) idOf(fd int) (nsid, error) {
	id, err := c.knownID(fd)
	if err != nil || id >= 0 {
		return id, err
	}
	// Somebody else may be faster in giving it one, which is as good.
	if err := c.giveID(fd); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("cannot give the namespace an id: %w", err)
	}
	id, err = c.knownID(fd)
	if err == nil && id < 0 {
		err = errors.New("the kernel gives the namespace no id")
	}
	return id, err
}

// pidfdGetNetNamespace is PIDFD_GET_NET_NAMESPACE, since Linux 6.11.
const pidfdGetNetNamespace = 0xff04

// openNamespace opens the network namespace of leader. The caller closes it.
func openNamespace(leader *proc.PIDFD) (int, error) {
	fd := -1
	err := leader.WithFD(func(pidfd int) error {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetNetNamespace, 0)
		if errno != 0 {
			return errno
		}
		fd = int(r)
		return nil
	})
	if err == nil || !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EINVAL) {
		return fd, err
	}
	fd, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", leader.PID()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// The PID may have been another process's already.
	if !leader.Alive() {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

func isOurs(fd int) (bool, error) {
	var theirs, own unix.Stat_t
	if err := unix.Fstat(fd, &theirs); err != nil {
		return false, err
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return false, err
	}
	return theirs.Dev == own.Dev && theirs.Ino == own.Ino, nil
}
