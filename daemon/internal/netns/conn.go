package netns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A conn is a netlink socket for one conversation at a time. Opening one costs a few
// microseconds, less than what sharing one would in locks and in draining the
// rest of a dump that somebody gave up.
type conn struct {
	fd     int
	seq    uint32
	spent  bool // something was asked whose answer has not been read to its end
	buffer *[receiveSize]byte
}

const (
	// receiveSize is the largest datagram the kernel makes of a dump, bytes.
	receiveSize = 32 << 10
	// receiveTimeout is how long one answer may take. The kernel answers in
	// the call that asks, so this only ends what cannot happen.
	receiveTimeout = 5 // seconds
	// maxInterrupted is how often a dump is repeated that was disturbed by a
	// change in the namespace.
	maxInterrupted = 5
	// rtextFilterSkipStats leaves out the counters of links.
	rtextFilterSkipStats = 1 << 3
)

var buffers = sync.Pool{New: func() any { return new([receiveSize]byte) }}

// dial opens a socket that takes what is asked literally. Without strict
// checking the kernel ignores the target namespace without an error and
// answers for the host.
func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	c := &conn{fd: fd, buffer: buffers.Get().(*[receiveSize]byte)}
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: receiveTimeout})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot make netlink check strictly: %w", err)
	}
	return c, nil
}

func (c *conn) Close() error {
	buffers.Put(c.buffer)
	return unix.Close(c.fd)
}

// knownID returns the id of the namespace that fd is of, negative if it has none.
func (c *conn) knownID(fd int) (nsid, error) {
	r := newRequest(unix.RTM_GETNSID, 0, genericHeader(unix.AF_UNSPEC))
	r.add(unix.NETNSA_FD, uint32(fd))
	id, found := nsid(-1), false
	err := c.ask(r, func(m message) error {
		if m.kind != unix.RTM_NEWNSID {
			return nil
		}
		if value, ok := m.attribute(len(genericHeader(0)), unix.NETNSA_NSID); ok && len(value) == 4 {
			id, found = nsid(int32(order.Uint32(value))), true
		}
		return nil
	})
	if err == nil && !found {
		err = errors.New("the kernel does not say")
	}
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the id of a network namespace: %w", err)
	}
	return id, nil
}

// giveID lets the kernel choose an id for the namespace that fd is of.
func (c *conn) giveID(fd int) error {
	r := newRequest(unix.RTM_NEWNSID, unix.NLM_F_ACK, genericHeader(unix.AF_UNSPEC))
	r.add(unix.NETNSA_FD, uint32(fd))
	r.add(unix.NETNSA_NSID, ^uint32(0))
	return c.ask(r, func(message) error { return nil })
}

// addresses returns at most maxAddresses usable addresses of ns.
func (c *conn) addresses(ctx context.Context, ns nsid) ([]address, error) {
	found, err := dump(ctx, c, ns, query{
		ask: unix.RTM_GETADDR, answer: unix.RTM_NEWADDR,
		header: make([]byte, unix.SizeofIfAddrmsg), target: unix.IFA_TARGET_NETNSID,
		limit: maxAddresses,
	}, parseAddress)
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	return found, nil
}

// links returns at most maxLinks links of ns, those to the host marked.
func (c *conn) links(ctx context.Context, ns nsid) ([]link, error) {
	links, err := dump(ctx, c, ns, query{
		ask: unix.RTM_GETLINK, answer: unix.RTM_NEWLINK,
		header: make([]byte, unix.SizeofIfInfomsg), target: unix.IFLA_TARGET_NETNSID,
		limit: maxLinks, mask: rtextFilterSkipStats,
	}, parseLink)
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	return links, c.markLinksToUs(links)
}

// markLinksToUs finds the links whose other end is in our own namespace. The
// kernel has given that an id in the dump, if there are any.
func (c *conn) markLinksToUs(links []link) error {
	if !slices.ContainsFunc(links, func(l link) bool { return l.peer >= 0 }) {
		return nil
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open our network namespace: %w", err)
	}
	defer unix.Close(fd)
	id, err := c.knownID(fd)
	if err != nil {
		return err
	}
	for i, l := range links {
		links[i].toHost = l.peer >= 0 && l.peer == id
	}
	return nil
}

// A query is a dump of one kind of thing in one namespace.
type query struct {
	ask, answer uint16
	header      []byte // the fixed part, all zero
	target      uint16 // attribute that names the namespace, both ways
	limit       int    // items after which the rest is not read
	mask        uint32 // of IFLA_EXT_MASK, 0 for none
}

// dump returns what parse makes of every answer to q, at most q.limit.
func dump[T any](ctx context.Context, c *conn, ns nsid, q query, parse func(message) (T, bool)) ([]T, error) {
	for attempt := 1; ; attempt++ {
		r := newRequest(q.ask, unix.NLM_F_DUMP, q.header)
		if ns != ours {
			r.add(q.target, uint32(ns))
		}
		if q.mask != 0 {
			r.add(unix.IFLA_EXT_MASK, q.mask)
		}
		var items []T
		err := c.ask(r, func(m message) error {
			if m.kind != q.answer {
				return nil
			}
			if !m.isAbout(ns, len(q.header), q.target) {
				return errors.New("the kernel answers for another namespace")
			}
			if item, ok := parse(m); ok {
				items = append(items, item)
			}
			if len(items) >= q.limit {
				return errEnough
			}
			return ctx.Err()
		})
		if errors.Is(err, errInterrupted) && attempt < maxInterrupted {
			continue
		}
		if errors.Is(err, errInterrupted) || errors.Is(err, errEnough) {
			return items, nil // as good as it gets while it keeps changing
		}
		return items, err
	}
}

var (
	errInterrupted = errors.New("changed while it was listed")
	errEnough      = errors.New("enough")
)

// ask sends r and calls each for every message of the answer. After an error
// the rest is not read and c is of no further use.
func (c *conn) ask(r request, each func(message) error) (err error) {
	defer func() { c.spent = c.spent || err != nil && !errors.Is(err, errInterrupted) }()
	c.seq++
	if err := unix.Sendto(c.fd, r.bytes(c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	a := answer{to: r, seq: c.seq, each: each}
	for !a.complete {
		datagram, err := c.receive()
		if err != nil {
			return err
		}
		if err := a.take(datagram); err != nil {
			return err
		}
	}
	if a.interrupted {
		return errInterrupted
	}
	return nil
}

// receive returns the next datagram of the kernel, valid until the next call.
func (c *conn) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
			return c.buffer[:n], nil
		}
	}
}

// An answer is what has come so far of one.
type answer struct {
	to   request
	seq  uint32
	each func(message) error

	complete    bool
	interrupted bool
}

func (a *answer) take(datagram []byte) error {
	for m, err := range messages(datagram) {
		if err != nil {
			return err
		}
		if m.seq != a.seq {
			continue
		}
		a.interrupted = a.interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		last, err := m.ends()
		if last || err != nil {
			a.complete = true
			return err
		}
		if err := a.each(m); err != nil {
			return err
		}
		if !a.to.isDump() && !a.to.wantsAck() {
			a.complete = true
			return nil
		}
	}
	return nil
}
