package responder

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A packetSocket speaks IP on one link below the host's own IP: firewalls that
// drop what comes in do not hide anything from it, and it can answer who has no
// address yet.
//
// One does for both families. The kernel takes ten milliseconds to let go of
// each, which a daemon that is killed has to wait for before the next one starts.
type packetSocket struct {
	fd    int
	index int
	// handle4 and handle6 get packets from their IP header on, and the MAC
	// address they come from. One that is nil is not served.
	handle4, handle6 func(packet []byte, from net.HardwareAddr, now time.Time)
}

const (
	// packetBuffer is how much the kernel keeps for us, bytes with its own
	// overhead: enough for some hundred machines that ask at once.
	packetBuffer = 256 << 10
	// snapLength is the longest packet that is looked at, bytes. No client has more
	// to say, and options within options cost the square of their length.
	snapLength = 1500
	// packetRate and packetBurst bound the messages of a link: a zone of some
	// hundred machines may come up at once.
	packetRate, packetBurst = 200, 800
)

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// guestFilter lets DHCPv4 from clients through, unless it is in fragments, then
// router solicitations, and DHCPv6 to servers.
var guestFilter = []bpf.Instruction{
	0: bpf.LoadAbsolute{Off: 0, Size: 1},
	1: bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
	2: bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 8},
	3: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 4, SkipTrue: 15},

	4:  bpf.LoadAbsolute{Off: 9, Size: 1},
	5:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 13},
	6:  bpf.LoadAbsolute{Off: 6, Size: 2},
	7:  bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 11},
	8:  bpf.LoadMemShift{Off: 0},
	9:  bpf.LoadIndirect{Off: 2, Size: 2},
	10: bpf.JumpIf{Cond: bpf.JumpEqual, Val: dhcp4ServerPort, SkipTrue: 7, SkipFalse: 8},

	11: bpf.LoadAbsolute{Off: 6, Size: 1},
	12: bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
	13: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 5},
	14: bpf.LoadAbsolute{Off: header6, Size: 1},
	15: bpf.JumpIf{Cond: bpf.JumpEqual, Val: routerSolicitation, SkipTrue: 2, SkipFalse: 3},
	16: bpf.LoadAbsolute{Off: header6 + 2, Size: 2},
	17: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcp6ServerPort, SkipTrue: 1},

	18: bpf.RetConstant{Val: snapLength},
	19: bpf.RetConstant{Val: 0},
}

// openPackets returns a socket that hears what guests ask, for handlers that its
// caller sets.
func openPackets(l *loop, index int) (*packetSocket, error) {
	p, err := listenPackets(index)
	if err != nil {
		return nil, err
	}
	return p, l.add(&source{fd: p.fd, limit: newBucket(packetRate, packetBurst), receive: p.receive})
}

func listenPackets(index int) (*packetSocket, error) {
	// Without a protocol it hears nothing until it is bound, when it has its
	// filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a packet socket: %w", err)
	}
	err = errors.Join(
		attach(fd, guestFilter),
		// What the host sends is copied for a socket of all protocols otherwise.
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetBuffer/2), // the kernel doubles it
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}),
	)
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ENODEV) {
			err = errNotThere
		}
		return nil, fmt.Errorf("cannot hear packets: %w", err)
	}
	return &packetSocket{fd: fd, index: index}, nil
}

func networkOrder(etherType uint16) uint16 { return etherType<<8 | etherType>>8 }

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

func (p *packetSocket) receive(buffer []byte, now time.Time) bool {
	n, addr, err := unix.Recvfrom(p.fd, buffer, 0)
	if err != nil {
		return false
	}
	link, ok := addr.(*unix.SockaddrLinklayer)
	if !ok || link.Halen != 6 {
		return true
	}
	from := net.HardwareAddr(link.Addr[:6:6])
	switch {
	case link.Protocol == networkOrder(unix.ETH_P_IP) && p.handle4 != nil:
		p.handle4(buffer[:n], from, now)
	case link.Protocol == networkOrder(unix.ETH_P_IPV6) && p.handle6 != nil:
		p.handle6(buffer[:n], from, now)
	}
	return true
}

// send sends a packet, from its IP header on.
func (p *packetSocket) send(packet []byte, to net.HardwareAddr) error {
	etherType := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		etherType = unix.ETH_P_IPV6
	}
	addr := &unix.SockaddrLinklayer{Protocol: networkOrder(etherType), Ifindex: p.index, Halen: 6}
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
