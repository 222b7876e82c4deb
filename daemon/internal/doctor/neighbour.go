package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbourLimit is how long a machine may take to say which address is its own.
const neighbourLimit = 800 * time.Millisecond

// settled is how long is waited for a second answer after the first.
const settled = 60 * time.Millisecond

// checkNeighbour asks on the link whose the machine's addresses are, by ARP and
// neighbour discovery. It asks itself: what the kernel remembers may be old.
func checkNeighbour(ctx context.Context, p *patient) (found []finding, applies bool) {
	host, guest, ok := p.bothEnds()
	if !ok || len(host.HardwareAddr) != 6 {
		return nil, false
	}
	answers := make([][]finding, len(p.net.Addresses))
	var wait sync.WaitGroup
	for n, a := range p.net.Addresses {
		i := slices.IndexFunc(p.net.Gateways, func(g netip.Addr) bool { return g.Is4() == a.Addr().Is4() })
		if i >= 0 {
			applies = true
			wait.Go(func() { answers[n] = p.neighbour(ctx, host, guest, p.net.Gateways[i], a.Addr()) })
		}
	}
	wait.Wait()
	return slices.Concat(answers...), applies
}

// neighbour asks from the gateway's address whose one of the machine's is.
func (p *patient) neighbour(ctx context.Context, host, guest *netlink.LinkAttrs, gateway, addr netip.Addr) []finding {
	who, err := p.cfg.Host.whoHas(ctx, host.Index, host.HardwareAddr, gateway, addr)
	if err != nil {
		return unknown("neighbours on "+host.Name, err)
	}
	others := slices.DeleteFunc(slices.Clone(who), func(m string) bool { return m == guest.HardwareAddr.String() })
	switch {
	case len(who) == 0:
		return []finding{trouble(fmt.Sprintf("nobody on %s says that %s is his", host.Name, addr),
			"The machine does not answer "+discovery(addr)+": its link drops it, or a filter does.", p.within("ip addr show "+guest.Name))}
	case len(others) > 0:
		return []finding{trouble(fmt.Sprintf("%s is also the address of %s on %s", addr, others[0], host.Name),
			"Two have one address: packets reach now the one and now the other.", "bridge fdb show | grep "+others[0])}
	}
	return nil
}

func discovery(addr netip.Addr) string {
	if addr.Is4() {
		return "ARP"
	}
	return "neighbour discovery"
}

// whoHas returns the hardware addresses of all on a link who claim an address.
func (s *Space) whoHas(ctx context.Context, index int, mac net.HardwareAddr, from, addr netip.Addr) (macs []string, err error) {
	ask, kind, answer := arpRequest(mac, from, addr), uint16(unix.ETH_P_ARP), arpAnswer
	if addr.Is6() {
		ask, kind, answer = solicitation(mac, from, addr), unix.ETH_P_IPV6, advertisement
	}
	t, err := s.tapOn(index, kind)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var end time.Time
	err = t.ask(ctx, ask, neighbourLimit, func(frame []byte) bool {
		if who, ok := answer(frame, addr); ok && !slices.Contains(macs, who.String()) {
			macs = append(macs, who.String())
			end = time.Now().Add(settled)
		}
		return !end.IsZero() && time.Now().After(end)
	})
	return macs, err
}

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func arpRequest(mac net.HardwareAddr, from, addr netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, mac...), from.AsSlice()...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
	return frame(everybody, mac, unix.ETH_P_ARP, b)
}

func arpAnswer(f []byte, addr netip.Addr) (net.HardwareAddr, bool) {
	if len(f) < 42 || binary.BigEndian.Uint16(f[20:]) != 2 || !bytes.Equal(f[28:32], addr.AsSlice()) {
		return nil, false
	}
	return slices.Clone(net.HardwareAddr(f[22:28])), true
}

// solicitation asks by neighbour discovery, as RFC 4861 has it.
func solicitation(mac net.HardwareAddr, from, addr netip.Addr) []byte {
	a := addr.As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, a[13], a[14], a[15]})
	body := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, a[:]...)
	body = append(append(body, 1, 1), mac...) // our own link-layer address
	to := net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
	return frame(to, mac, unix.ETH_P_IPV6, ipPacket(unix.IPPROTO_ICMPV6, from, group, noHopLimit, body, 2))
}

func advertisement(f []byte, addr netip.Addr) (net.HardwareAddr, bool) {
	const body = 14 + 40
	if len(f) < body+24 || f[14+6] != unix.IPPROTO_ICMPV6 || f[body] != 136 || !bytes.Equal(f[body+8:body+24], addr.AsSlice()) {
		return nil, false
	}
	return slices.Clone(net.HardwareAddr(f[6:12])), true
}
