package doctor

import (
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/task"
)

// A Space is a network namespace. The zero Space is that of this process.
type Space struct{ ns *os.File }

// spaceOf returns the namespace of leader, nil if that is the host's. The caller
// closes it.
func spaceOf(leader *proc.PIDFD) (*Space, error) {
	shared, err := leader.SameNamespace("net")
	if err != nil || shared {
		return nil, err
	}
	ns, err := leader.Namespace("net")
	if err != nil {
		return nil, err
	}
	return &Space{ns}, nil
}

// Close gives the namespace back. It may be called on nil.
func (s *Space) Close() error {
	if s == nil || s.ns == nil {
		return nil
	}
	return s.ns.Close()
}

// in calls fn on a thread that is in the namespace; sockets that it opens stay
// there.
func (s *Space) in(fn func() error) error {
	if s.ns == nil {
		return fn()
	}
	return task.OnThread(func() error {
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot enter the network namespace: %w", err)
		}
		return fn()
	})
}

// kernel opens a conversation about links, addresses, routes and neighbours.
func (s *Space) kernel() (h *netlink.Handle, err error) {
	err = s.in(func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		return h.SetSocketTimeout(netlinkTimeout)
	})
	return h, err
}

// netfilter opens a conversation about rules.
func (s *Space) netfilter() (c *nftables.Conn, err error) {
	err = s.in(func() error {
		c, err = nftables.New(nftables.AsLasting())
		return err
	})
	return c, err
}

// sysctl reads a setting of the network, such as "ipv4/ip_forward", from root,
// which is /proc/sys.
func (s *Space) sysctl(root, name string) (value string, err error) {
	err = s.in(func() error {
		data, err := os.ReadFile(root + "/net/" + name)
		value = trimmed(data)
		return err
	})
	return value, err
}
