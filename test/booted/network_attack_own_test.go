package booted

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/lan"
)

// A wire is a machine's side of its link, for frames that no kernel would send.
type wire struct {
	fd, index  int
	mine, host net.HardwareAddr
}

// wireOf returns the wire of a machine to whoever has this address.
func wireOf(t *testing.T, d dweller, to netip.Addr) wire {
	t.Helper()
	fd, err := d.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	var links []struct {
		Index int    `json:"ifindex"`
		MAC   string `json:"address"`
	}
	ipJSON(t, d.Place, &links, "link", "show", "dev", "host0")
	w := wire{fd: fd, index: links[0].Index}
	w.mine, err = net.ParseMAC(links[0].MAC)
	must(t, err)
	d.Ask("udp", at(to, 9)) // so that its neighbour is known
	var neighbours []struct {
		MAC string `json:"lladdr"`
	}
	ipJSON(t, d.Place, &neighbours, "neighbour", "show", to.String(), "dev", "host0")
	if len(neighbours) == 0 {
		t.Fatalf("%s is no neighbour", to)
	}
	w.host, err = net.ParseMAC(neighbours[0].MAC)
	must(t, err)
	return w
}

func (w wire) send(t *testing.T, to net.HardwareAddr, kind uint16, payload []byte) {
	t.Helper()
	frame := append(append(append([]byte{}, to...), w.mine...), byte(kind>>8), byte(kind))
	must(t, unix.Sendto(w.fd, append(frame, payload...), 0, &unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6}))
}

// datagram is a UDP packet without a checksum over IPv4, with one over IPv6.
func datagram(from, to netip.Addr, port int, text string) (kind uint16, packet []byte) {
	length := 8 + len(text)
	udp := binary.BigEndian.AppendUint16(nil, 40000)
	udp = binary.BigEndian.AppendUint16(udp, uint16(port))
	udp = binary.BigEndian.AppendUint16(udp, uint16(length))
	udp = append(append(udp, 0, 0), text...)
	if from.Is4() {
		ip := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+length))
		ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
		return unix.ETH_P_IP, append(ip, udp...)
	}
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, byte(length>>8), byte(length), 0, 0, 0, unix.IPPROTO_UDP)
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))
	ip := append([]byte{0x60, 0, 0, 0, byte(length >> 8), byte(length), unix.IPPROTO_UDP, 64}, from.AsSlice()...)
	return unix.ETH_P_IPV6, append(append(ip, to.AsSlice()...), udp...)
}

func checksum(data []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(data); i += 2 {
		sum += uint32(data[i]) << 8
		if i+1 < len(data) {
			sum += uint32(data[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// An ear hears datagrams, and which of them it heard.
type ear struct{ heard chan string }

func listenFor(t *testing.T, place lan.Place, address string) ear {
	t.Helper()
	conn, err := place.ListenPacket("udp", address)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	e := ear{make(chan string, 100)}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			e.heard <- string(buf[:n])
		}
	}()
	return e
}

// hears tells whether this comes. What does not come is waited for a moment.
func (e ear) hears(text string, within time.Duration) bool {
	for timeout := time.After(within); ; {
		select {
		case got := <-e.heard:
			if got == text {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// moment is enough for a frame on a link of this host.
const moment = 300 * time.Millisecond

// What the host serves to itself is out of reach for machines, also with frames
// that say that they are for its loopback, or come from there.
func TestMachdNetworkGuardsTheLoopback(t *testing.T) {
	t.Parallel()
	d := startDweller(t, "attacker", "-n", "-p", "8150:80")
	d.serve(t, 80)
	wantAnswer(t, here, "tcp", "127.0.0.1:8150", d.name, d.gate4)
	inner, outer := listenFor(t, here, "127.0.0.1:8151"), listenFor(t, here, ":8152")
	inner6 := listenFor(t, here, "[::1]:8151")
	w, w6 := wireOf(t, d, d.gate4), wireOf(t, d, d.gate6)
	send := func(w wire, from, to netip.Addr, port int, text string) {
		t.Helper()
		kind, packet := datagram(from, to, port, text)
		w.send(t, w.host, kind, packet)
	}
	send(w, d.v4, d.gate4, 8152, "honest")
	send(w6, d.v6, d.gate6, 8152, "honest6")
	for _, text := range []string{"honest", "honest6"} {
		if !outer.hears(text, patience) {
			t.Fatalf("a frame that is all right does not come: %s", text)
		}
	}
	for _, to := range []string{"127.0.0.1", "127.9.9.9"} {
		send(w, d.v4, addr(to), 8151, "to "+to)
	}
	send(w, addr("127.0.0.1"), addr("127.0.0.1"), 8151, "from loopback")
	send(w, addr("127.0.0.1"), d.gate4, 8152, "from loopback")
	send(w6, d.v6, addr("::1"), 8151, "to ::1")
	send(w6, addr("::1"), d.gate6, 8152, "from ::1")
	for name, e := range map[string]ear{"127.0.0.1": inner, "::1": inner6, "any address": outer} {
		select {
		case got := <-e.heard:
			t.Errorf("what listens at %s hears %q", name, got)
		case <-time.After(moment):
		}
	}
}

// A machine speaks for itself only.
func TestMachdNetworkDropsFalseSenders(t *testing.T) {
	t.Parallel()
	d, other := startDweller(t, "liar", "-n"), startDweller(t, "lied-about", "-n")
	e := listenFor(t, here, ":8160")
	w, w6 := wireOf(t, d, d.gate4), wireOf(t, d, d.gate6)
	for _, c := range []struct {
		wire     wire
		from, to netip.Addr
		comes    bool
	}{
		{w, d.v4, d.gate4, true},
		{w, other.v4, d.gate4, false},
		{w, addr(lan.Outside4), d.gate4, false},
		{w, addr("10.99.99.9"), d.gate4, false},
		{w, d.gate4, d.gate4, false},
		{w6, d.v6, d.gate6, true},
		{w6, other.v6, d.gate6, false},
		{w6, addr(lan.Outside6), d.gate6, false},
		{w6, d.gate6, d.gate6, false},
	} {
		text := "from " + c.from.String()
		kind, packet := datagram(c.from, c.to, 8160, text)
		c.wire.send(t, c.wire.host, kind, packet)
		within := moment
		if c.comes {
			within = patience
		}
		if got := e.hears(text, within); got != c.comes {
			t.Errorf("what comes from %s: %v, want %v", c.from, got, c.comes)
		}
	}
	// A second address that it gives itself is of no use.
	out, err := d.Command(t.Context(), "ip", "address", "add", "10.98.98.8/24", "dev", "host0").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantAnswerFrom(t, d, e, d.v4, true)
	wantAnswerFrom(t, d, e, addr("10.98.98.8"), false)
}

// wantAnswerFrom checks whether the host hears what a machine sends from one of
// its addresses.
func wantAnswerFrom(t *testing.T, d dweller, e ear, from netip.Addr, comes bool) {
	t.Helper()
	text := fmt.Sprint("socket ", from)
	conn, err := d.ListenPacket("udp", at(from, 0))
	must(t, err)
	defer conn.Close()
	_, err = conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.gate4, 8160)))
	must(t, err)
	within := moment
	if comes {
		within = patience
	}
	if e.hears(text, within) != comes {
		t.Errorf("what is sent from %s is heard: %v, want %v", from, !comes, comes)
	}
}

// In a zone, nobody answers for others.
func TestMachdZoneKeepsNeighboursApart(t *testing.T) {
	t.Parallel()
	liar := startDweller(t, "zone-liar", "--zone=honest")
	one, two := startDweller(t, "zone-one", "--zone=honest"), startDweller(t, "zone-two", "--zone=honest")
	two.serve(t, 80)
	wantAnswer(t, one.Place, "tcp", at(two.v4, 80), two.name, one.v4)
	w := wireOf(t, liar, one.v4)
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	neighbour := func() string {
		out, err := one.Command(t.Context(), "ip", "neighbour", "show", two.v4.String()).Output()
		must(t, err)
		return strings.Join(strings.Fields(string(out))[:5], " ")
	}
	before := neighbour()
	for range 20 {
		// "I have the address of zone-two", asked and unasked.
		for operation := byte(1); operation <= 2; operation++ {
			arp := append([]byte{0, 1, 8, 0, 6, 4, 0, operation}, w.mine...)
			arp = append(append(append(arp, two.v4.AsSlice()...), w.host...), one.v4.AsSlice()...)
			w.send(t, w.host, unix.ETH_P_ARP, arp)
			w.send(t, broadcast, unix.ETH_P_ARP, arp)
		}
	}
	time.Sleep(moment)
	if after := neighbour(); after != before || strings.Contains(after, w.mine.String()) {
		t.Errorf("the neighbour was %q, is %q; the liar is %s", before, after, w.mine)
	}
	wantAnswer(t, one.Place, "tcp", at(two.v4, 80), two.name, one.v4)
	// Nor does it get what it says under another address of its link.
	e := listenFor(t, one.Place, ":8170")
	kind, packet := datagram(liar.v4, one.v4, 8170, "honest")
	w.send(t, w.host, kind, packet)
	if !e.hears("honest", patience) {
		t.Fatal("a frame that is all right does not come")
	}
	kind, packet = datagram(two.v4, one.v4, 8170, "as zone-two")
	w.send(t, w.host, kind, packet)
	w.mine = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	kind, packet = datagram(liar.v4, one.v4, 8170, "as another card")
	w.send(t, w.host, kind, packet)
	select {
	case got := <-e.heard:
		t.Errorf("it hears %q", got)
	case <-time.After(moment):
	}
}

// A machine that asks for its address all the time keeps nobody else from his.
func TestMachdNetworkBearsAFlood(t *testing.T) {
	flooder := startDweller(t, "flooder", "-n")
	w := wireOf(t, flooder, flooder.gate4)
	before := statusOf(t, pid(t), "VmRSS")
	stop, stopped := make(chan struct{}), make(chan error, 1)
	_, query := datagram(flooder.v4, flooder.gate4, 53, "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x01\x00\x01")
	_, discover := datagram(netip.IPv4Unspecified(), addr("255.255.255.255"), 67, discoverText(w.mine))
	go func() {
		stopped <- func() error {
			for {
				for _, packet := range [][]byte{query, discover} {
					frame := append(append(append([]byte{}, w.host...), w.mine...), 8, 0)
					err := unix.Sendto(w.fd, append(frame, packet...), 0, &unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6})
					if err != nil && !errors.Is(err, unix.ENOBUFS) {
						return err
					}
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		}()
	}()
	time.Sleep(3 * time.Second)
	begin := time.Now()
	startDweller(t, "beside-flood", "-n").wantNetwork(t)
	took := time.Since(begin)
	close(stop)
	must(t, <-stopped)
	if after := statusOf(t, pid(t), "VmRSS"); after > before+32<<10 {
		t.Errorf("machd takes %d KiB, took %d", after, before)
	}
	if took > patience/2 {
		t.Errorf("a start beside it takes %s", took)
	}
}

// discoverText is a DHCPDISCOVER.
func discoverText(mac net.HardwareAddr) string {
	message := make([]byte, 240)
	message[0], message[1], message[2] = 1, 1, 6
	copy(message[28:], mac)
	copy(message[236:], "\x63\x82\x53\x63")
	return string(append(message, 53, 1, 1, 255))
}
