package responder

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// reservePort4 takes the port of DHCPv4 servers on the link, without hearing
// anything at it: otherwise the kernel would tell clients that nobody is there.
// Whoever has it answers DHCPv4 on the link, too.
func reservePort4(l *loop, cfg *Config) error {
	return cfg.reserve(l, "DHCPv4 alone", netip.AddrPortFrom(netip.IPv4Unspecified(), dhcp4ServerPort))
}

func reservePort6(l *loop, cfg *Config) error {
	return cfg.reserve(l, "DHCPv6 alone", netip.AddrPortFrom(netip.IPv6Unspecified(), dhcp6ServerPort))
}

func (cfg *Config) reserve(l *loop, service string, at netip.AddrPort) error {
	fd, err := cfg.bind(unix.SOCK_DGRAM, at, reuse)
	if err == nil {
		err = attach(fd, deaf)
		l.own(fd)
	}
	return cfg.portError(service, "udp", at, err)
}

func (cfg *Config) portError(service, network string, at netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	e := &PortError{Service: service, Network: network, Addr: at, Link: cfg.Link, Err: err}
	if errors.Is(err, unix.EADDRINUSE) && cfg.Holder != nil {
		e.Holder = cfg.Holder(network, at)
	}
	return e
}

// reuse lets others have the port, too: for packets, servers of other links that
// ask for it on all links first, as libvirt's dnsmasq does; for streams, us while
// connections of the daemon before are not quite over.
const reuse = true

// bind returns a socket that speaks on the link only. The address need not be
// there yet.
func (cfg *Config) bind(kind int, at netip.AddrPort, reuse bool) (fd int, err error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open a socket: %w", err)
	}
	err = unix.BindToDevice(fd, cfg.Link)
	if family == unix.AF_INET6 && err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if reuse && err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = bindFreely(fd, family)
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(at, 0))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindFreely(fd, family int) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
}

func sockaddr(at netip.AddrPort, zone uint32) unix.Sockaddr {
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: zone}
}

func addrPort(a unix.Sockaddr) (netip.AddrPort, bool) {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}
