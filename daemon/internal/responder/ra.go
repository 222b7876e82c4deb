package responder

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

const (
	// routerLifetime is the longest that a guest may take us for a router,
	// RFC 4861, 6.2.1. Two announcements may be lost before it ends.
	routerLifetime = 9000 * time.Second
	announceEvery  = routerLifetime / 3
	// A link that came up just now has no address to announce from, for a second
	// or two.
	retryFirst, retryLast = 100 * time.Millisecond, 10 * time.Second
	// ndHops is what shows that a message was not routed, RFC 4861, 6.1.
	ndHops = 255
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
	// allNodesMAC is the group that Ethernet has for allNodes.
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

const routerSolicitation = 133

// A router is what guests see of IPv6 on the link: it announces itself, and
// answers DHCPv6.
type router struct {
	cfg     *Config
	packets *packetSocket
	next    time.Time     // announcement to everybody
	retry   time.Duration // after one that could not be sent
}

func openIPv6(l *loop, p *packetSocket, cfg *Config, now time.Time) error {
	if err := joinGroups(l, cfg.Index); err != nil {
		return err
	}
	r := &router{cfg: cfg, packets: p, next: now, retry: retryFirst}
	p.handle6 = r.handle
	l.ticks = append(l.ticks, r.tick)
	return nil
}

// joinGroups makes what goes to all routers and to all DHCPv6 servers reach the
// host: a bridge may keep it for those who have asked for it.
func joinGroups(l *loop, index int) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot open a socket: %w", err)
	}
	l.own(fd)
	for _, group := range []netip.Addr{allRouters, allDHCPServers} {
		request := &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}
		if err := unix.SetsockoptIPv6Mreq(fd, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP, request); err != nil {
			return fmt.Errorf("cannot hear what goes to %v: %w", group, err)
		}
	}
	return nil
}

func (r *router) handle(packet []byte, from net.HardwareAddr, now time.Time) {
	d, ok := parse6(packet)
	switch {
	case !ok:
	case d.protocol == unix.IPPROTO_ICMPV6:
		if to, ok := r.cfg.solicited(d, from); ok {
			r.announce(to, from, now)
		}
	case d.dstPort == dhcp6ServerPort:
		if message, ok := r.cfg.handle6(d, from); ok {
			r.log(r.answer(message, d.src, from), from)
		}
	}
}

// solicited returns whom to answer that asks for routers. Who has no address
// yet is sent what goes to everybody, in a frame for him alone (RFC 6085).
func (cfg *Config) solicited(d datagram, from net.HardwareAddr) (to netip.Addr, ok bool) {
	if d.hops != ndHops {
		return to, false
	}
	m, err := ndp.ParseMessage(d.payload)
	if err != nil {
		return to, false
	}
	if _, ok := m.(*ndp.RouterSolicitation); !ok {
		return to, false
	}
	if _, ok := cfg.Guest(from); !ok {
		return to, false
	}
	switch {
	case d.src.IsUnspecified():
		return allNodes, true
	case d.src.IsLinkLocalUnicast():
		return d.src, true
	}
	return to, false
}

// tick announces the router to everybody when it is time.
func (r *router) tick(now time.Time) time.Time {
	if r.next.After(now) {
		return r.next
	}
	if err := r.advertise(allNodes, allNodesMAC); err != nil {
		r.log(err, allNodesMAC)
		r.next = now.Add(r.retry)
		r.retry = min(2*r.retry, retryLast)
		return r.next
	}
	r.next, r.retry = now.Add(announceEvery), retryFirst
	return r.next
}

// announce answers one guest. If that is too early, everybody gets it soon.
func (r *router) announce(to netip.Addr, mac net.HardwareAddr, now time.Time) {
	if err := r.advertise(to, mac); err != nil {
		r.log(err, mac)
		r.retry = retryFirst
		if soon := now.Add(retryFirst); soon.Before(r.next) {
			r.next = soon
		}
	}
}

func (r *router) advertise(to netip.Addr, mac net.HardwareAddr) error {
	own, err := r.packets.mac()
	if err != nil {
		return err
	}
	src, err := linkLocal(r.cfg.Index)
	if err != nil {
		return err
	}
	message, err := ndp.MarshalMessageChecksum(r.cfg.advertisement(own), src, to)
	if err != nil {
		return fmt.Errorf("cannot make an announcement: %w", err)
	}
	return r.packets.send(datagram{src: src, dst: to, protocol: unix.IPPROTO_ICMPV6, hops: ndHops, payload: message}.packet(), mac)
}

// advertisement sends guests to DHCPv6 for their address: one that they made of
// the prefix themselves would be another one with each kind of guest.
func (cfg *Config) advertisement(own net.HardwareAddr) *ndp.RouterAdvertisement {
	a := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true, RouterLifetime: routerLifetime,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: own},
			&ndp.PrefixInformation{
				PrefixLength: uint8(cfg.Gateway6.Bits()), Prefix: cfg.Gateway6.Masked().Addr(), OnLink: true,
				ValidLifetime: ndp.Infinity, PreferredLifetime: ndp.Infinity,
			},
		},
	}
	if cfg.MTU > 0 {
		a.Options = append(a.Options, ndp.NewMTU(uint32(cfg.MTU)))
	}
	return a
}

// answer sends a message of DHCPv6.
func (r *router) answer(message []byte, to netip.Addr, mac net.HardwareAddr) error {
	src, err := linkLocal(r.cfg.Index)
	if err != nil {
		return err
	}
	return r.packets.send(datagram{
		src: src, dst: to, protocol: unix.IPPROTO_UDP, hops: 64,
		srcPort: dhcp6ServerPort, dstPort: dhcp6ClientPort, payload: message,
	}.packet(), mac)
}

func (r *router) log(err error, to net.HardwareAddr) {
	if err != nil {
		r.cfg.Log.Debug("Cannot send an answer yet", "link", r.cfg.Link, "to", to.String(), "error", err)
	}
}

// linkLocal returns the address that the link speaks to its neighbours from. It
// asks which one the kernel would take: one that it still looks for a duplicate
// of it does not.
func linkLocal(index int) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot open a socket: %w", err)
	}
	defer unix.Close(fd)
	const discard = 9 // nothing is sent
	if err := unix.Connect(fd, sockaddr(netip.AddrPortFrom(allNodes, discard), uint32(index))); err != nil {
		return netip.Addr{}, fmt.Errorf("cannot find the link-local address: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot find the link-local address: %w", err)
	}
	if at, ok := addrPort(name); ok && at.Addr().IsLinkLocalUnicast() {
		return at.Addr(), nil
	}
	return netip.Addr{}, errors.New("the link has no link-local address yet")
}
