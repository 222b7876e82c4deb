package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes of the structures of sock_diag, and what unix does not have of it.
const (
	sizeofDiagRequest = 56 // struct inet_diag_req_v2
	sizeofDiagMessage = 72 // struct inet_diag_msg
	diagOnlyIPv6      = 11 // INET_DIAG_SKV6ONLY

	stateUnconnected = 7 // TCP_CLOSE, which a UDP socket without a peer is in
	stateListening   = 10
)

// A socket is one that takes what comes to a port.
type socket struct {
	addr  netip.Addr
	port  uint16
	link  uint32 // index of the only link it hears, 0 for all
	only6 bool   // bound to :: it does not take IPv4
	inode uint32
}

// takes reports whether the socket gets what comes to addr.
func (k socket) takes(addr netip.Addr) bool {
	if k.addr == addr {
		return true
	}
	return k.addr.IsUnspecified() && (k.addr.Is4() == addr.Is4() || k.addr.Is6() && !k.only6)
}

// Listens returns at which ports somebody takes what comes, and for which
// addresses; 0.0.0.0 and :: are for all. The protocol is unix.IPPROTO_TCP or
// IPPROTO_UDP.
func (s *Space) Listens(protocol uint8) (map[uint16][]netip.Addr, error) {
	sockets, err := s.listening(protocol, 0)
	if err != nil {
		return nil, err
	}
	at := map[uint16][]netip.Addr{}
	for _, k := range sockets {
		at[k.port] = append(at[k.port], k.addr)
		if k.addr == netip.IPv6Unspecified() && !k.only6 {
			at[k.port] = append(at[k.port], netip.IPv4Unspecified())
		}
	}
	for port, addrs := range at {
		slices.SortFunc(addrs, netip.Addr.Compare)
		at[port] = slices.Compact(addrs)
	}
	return at, nil
}

// Listener returns who would no longer hear of a port if it led elsewhere: at
// addr, or at any address if addr is the zero Addr. Sockets of this process do not
// count.
func (s *Space) Listener(protocol uint8, addr netip.Addr, port uint16) (who Holder, found bool, err error) {
	if s.isFree(protocol, addr, port) {
		return Holder{}, false, nil
	}
	sockets, err := s.listening(protocol, port)
	if err != nil {
		return Holder{}, false, err
	}
	for _, k := range sockets {
		if addr.IsValid() && !k.takes(addr) {
			continue
		}
		holder := holderOf(k.inode)
		if holder.PID == os.Getpid() {
			continue
		}
		holder.At = netip.AddrPortFrom(k.addr, port)
		return holder, true, nil
	}
	return Holder{}, false, nil
}

// isFree reports that nobody has anything to do with a port, which the kernel
// tells at once when asked for it. If somebody has, it need not be a listener.
func (s *Space) isFree(protocol uint8, addr netip.Addr, port uint16) bool {
	kind, family := unix.SOCK_STREAM, unix.AF_INET6
	if protocol == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	var at unix.Sockaddr
	switch {
	case addr.Is4():
		family, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()}
	case addr.IsValid():
		at = &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}
	default:
		at = &unix.SockaddrInet6{Port: int(port)} // of both families
	}
	return s.inside(func() error {
		socket, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(socket)
		if family == unix.AF_INET6 {
			if err := unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
				return err
			}
		}
		return unix.Bind(socket, at)
	}) == nil
}

// listening returns the sockets that take what comes to a port, or to any if it
// is 0.
func (s *Space) listening(protocol uint8, port uint16) ([]socket, error) {
	state := stateListening
	if protocol == unix.IPPROTO_UDP {
		state = stateUnconnected
	}
	var all []socket
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		header := make(part, sizeofDiagRequest)
		header[0], header[1] = family, protocol
		order.PutUint32(header[4:], 1<<state)
		binary.BigEndian.PutUint16(header[8:], port)
		found, err := list(s, request{unix.NETLINK_SOCK_DIAG, nl.SOCK_DIAG_BY_FAMILY, 0,
			[]nl.NetlinkRequestData{header}}, maxItems, parseSocket)
		if isOneOf(err, unix.ENOENT) {
			continue // the kernel has no sockets of that kind
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list who listens on ports: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func parseSocket(body []byte) (socket, bool) {
	if len(body) < sizeofDiagMessage {
		return socket{}, false
	}
	k := socket{port: binary.BigEndian.Uint16(body[4:]), link: order.Uint32(body[40:]), inode: order.Uint32(body[68:])}
	size := 16
	if body[0] == unix.AF_INET {
		size = 4
	}
	k.addr, _ = netip.AddrFromSlice(body[8 : 8+size])
	// A socket for IPv6 may be bound to an address of IPv4.
	k.addr = k.addr.Unmap()
	if value := first(body[sizeofDiagMessage:], diagOnlyIPv6); len(value) == 1 {
		k.only6 = value[0] != 0
	}
	return k, true
}
