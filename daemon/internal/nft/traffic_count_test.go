package nft_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// Each packet counts once, there and back, by whatever way it comes.
func TestTraffic(t *testing.T) {
	w := newWorld(t)
	w.a.echo(t, "0.0.0.0:80", "[::]:80")
	w.host.echo(t, "127.0.0.1:3306", "[::1]:3306", "192.0.2.1:3306")
	const udp = unix.IPPROTO_UDP
	every4, every6 := port(udp, "", 8080, "10.213.0.2:80"), port(udp, "", 8080, "[fd00:a::2]:80")
	one4, one6 := port(udp, "192.0.2.1", 8081, "10.213.0.2:80"), port(udp, "2001:db8:1::1", 8081, "[fd00:a::2]:80")
	another := port(udp, "", 8082, "10.213.0.2:80") // to the same
	in4, in6 := inward("ve-a", udp, "10.213.0.1:306", "127.0.0.1:3306"), inward("ve-a", udp, "[fd00:a::1]:306", "[::1]:3306")
	inLAN := inward("ve-a", udp, "10.213.0.1:307", "192.0.2.1:3306")
	w.change(nft.Rules{}, nft.Rules{Ports: []nft.Port{every4, every6, one4, one6, another}, Inward: []nft.Inward{in4, in6, inLAN}})

	want := map[nft.Key]nft.Counter{}
	for _, key := range []nft.Key{every4.Key(), every6.Key(), one4.Key(), one6.Key(), another.Key(), in4.Key(), in6.Key(), inLAN.Key()} {
		want[key] = nft.Counter{}
	}
	for _, tt := range []struct {
		from    space
		address string
		key     nft.Key // that counts it
	}{
		{w.outside, "192.0.2.1:8080", every4.Key()},
		{w.outside, "[2001:db8:1::1]:8080", every6.Key()},
		{w.host, "127.0.0.1:8080", every4.Key()},
		{w.host, "[::1]:8080", every6.Key()},
		{w.host, "192.0.2.1:8080", every4.Key()},
		{w.b, "10.213.0.5:8080", every4.Key()},
		{w.b, "[fd00:b::1]:8080", every6.Key()},
		{w.a, "10.213.0.1:8080", every4.Key()},
		{w.a, "[fd00:a::1]:8080", every6.Key()},
		{w.outside, "192.0.2.1:8081", one4.Key()},
		{w.outside, "[2001:db8:1::1]:8081", one6.Key()},
		{w.host, "192.0.2.1:8081", one4.Key()},
		{w.outside, "192.0.2.1:8082", another.Key()},
		{w.a, "10.213.0.1:306", in4.Key()},
		{w.a, "[fd00:a::1]:306", in6.Key()},
		{w.a, "10.213.0.1:307", inLAN.Key()},
		// Not by a port.
		{w.host, "10.213.0.2:80", nft.Key{}},
		{w.b, "[fd00:a::2]:80", nft.Key{}},
	} {
		const packets, size = 3, 100
		tt.from.exchange(t, tt.address, packets, size)
		header := uint64(20 + 8)
		if tt.address[0] == '[' {
			header = 40 + 8
		}
		if c, ok := want[tt.key]; ok {
			want[tt.key] = nft.Counter{Packets: c.Packets + 2*packets, Bytes: c.Bytes + 2*packets*(size+header)}
		}
		got, err := w.table.Traffic()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s to %s: got\n%v, want\n%v", tt.from.name, tt.address, got, want)
		}
	}

	// A port that is published again begins to count again; others go on.
	w.change(nft.Rules{Ports: []nft.Port{one4}}, nft.Rules{})
	w.change(nft.Rules{}, nft.Rules{Ports: []nft.Port{one4, every4}})
	want[one4.Key()] = nft.Counter{}
	got, err := w.table.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published again: got\n%v, want\n%v", got, want)
	}
}

// A stream counts what is on the wire, headers included.
func TestTrafficOfAStream(t *testing.T) {
	w := newWorld(t)
	const size = 1 << 20
	w.a.do(t, func() {
		l, err := net.Listen("tcp4", "0.0.0.0:80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Write(make([]byte, size))
				c.Close()
			}
		}()
	})
	p := port(unix.IPPROTO_TCP, "", 8080, "10.213.0.2:80")
	w.change(nft.Rules{}, nft.Rules{Ports: []nft.Port{p}})
	w.outside.do(t, func() {
		c, err := net.Dial("tcp", "192.0.2.1:8080")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("got %d bytes, %v", n, err)
		}
	})
	got, err := w.table.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if c := got[p.Key()]; c.Bytes < size || c.Bytes > size*11/10 || c.Packets < 6 {
		t.Errorf("%d bytes have counted as %+v", size, c)
	}
}

func TestTrafficOfNothing(t *testing.T) {
	if got, err := openTable(t).Traffic(); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// echo sends packets back.
func (s space) echo(t *testing.T, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		s.do(t, func() {
			network := "udp4"
			if address[0] == '[' {
				network = "udp6"
			}
			c, err := net.ListenPacket(network, address)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				buffer := make([]byte, 2000)
				for {
					n, peer, err := c.ReadFrom(buffer)
					if err != nil {
						return
					}
					c.WriteTo(buffer[:n], peer)
				}
			}()
		})
	}
}

// exchange sends packets to an echo, one after the other.
func (s space) exchange(t *testing.T, address string, packets, size int) {
	t.Helper()
	s.do(t, func() {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		buffer := make([]byte, size)
		for range packets {
			if _, err := c.Write(buffer); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c, buffer); err != nil {
				t.Errorf("%s: no echo from %s: %v", s.name, address, err)
				return
			}
		}
	})
}
