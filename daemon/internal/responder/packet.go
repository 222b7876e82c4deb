package responder

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A packetSocket speaks IP on one link below the host's own IP: firewalls that
// drop what comes in do not hide anything from it, and it can answer who has no
// address yet.
type packetSocket struct {
	fd       int
	index    int
	protocol uint16 // of Ethernet, in network order
}

const (
	// packetBuffer is how much the kernel keeps for us, bytes with its own
	// overhead: enough for some hundred machines that ask at once.
	packetBuffer = 256 << 10
	// snapLength is the longest packet that is looked at, bytes. No client has more
	// to say, and options within options cost the square of their length.
	snapLength = 1500
)

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// listenPackets returns a socket that hears what filter lets through.
func listenPackets(index int, etherType uint16, filter []bpf.Instruction) (*packetSocket, error) {
	// Without a protocol it hears nothing until it is bound, when it has its
	// filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a packet socket: %w", err)
	}
	p := &packetSocket{fd: fd, index: index, protocol: etherType<<8 | etherType>>8}
	err = errors.Join(
		attach(fd, filter),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetBuffer/2), // the kernel doubles it
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: p.protocol, Ifindex: index}),
	)
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ENODEV) {
			err = errNotThere
		}
		return nil, fmt.Errorf("cannot hear packets: %w", err)
	}
	return p, nil
}

func attach(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// deaf lets nothing through.
var deaf = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// receive returns a packet, from its IP header on, and the MAC address it came
// from. It is not ok if there is none.
func (p *packetSocket) receive(buffer []byte) (packet []byte, from net.HardwareAddr, ok bool) {
	n, addr, err := unix.Recvfrom(p.fd, buffer, 0)
	if err != nil {
		return nil, nil, false
	}
	link, ok := addr.(*unix.SockaddrLinklayer)
	if !ok || link.Halen != 6 || link.Pkttype == unix.PACKET_OUTGOING {
		return nil, nil, true
	}
	return buffer[:n], net.HardwareAddr(link.Addr[:6:6]), true
}

// send sends a packet, from its IP header on.
func (p *packetSocket) send(packet []byte, to net.HardwareAddr) error {
	addr := &unix.SockaddrLinklayer{Protocol: p.protocol, Ifindex: p.index, Halen: 6}
	copy(addr.Addr[:], to)
	return unix.Sendto(p.fd, packet, 0, addr)
}

// mac returns the link's own MAC address, which may change.
func (p *packetSocket) mac() (net.HardwareAddr, error) {
	addr, err := unix.Getsockname(p.fd)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the MAC address of a link: %w", err)
	}
	link, ok := addr.(*unix.SockaddrLinklayer)
	if !ok || link.Halen != 6 {
		return nil, errors.New("the link has no MAC address of six bytes")
	}
	return net.HardwareAddr(link.Addr[:6:6]), nil
}
