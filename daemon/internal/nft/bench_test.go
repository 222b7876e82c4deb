package nft_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// manyPorts are as many, half of IPv4 and half of IPv6.
func manyPorts(n int) (list []nft.Port) {
	for i := range n / 2 {
		number := uint16(1024 + i)
		list = append(list,
			nft.Port{Protocol: unix.IPPROTO_TCP, Port: number, To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 213, byte(i >> 8), byte(i)}), 80)},
			nft.Port{Protocol: unix.IPPROTO_TCP, Port: number, To: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%x", i)), 80)})
	}
	return list
}

var onePort = nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 80, "10.213.0.2:80"), port(unix.IPPROTO_TCP, "", 80, "[fd00::2]:80")}}

// A port is added and removed, of both families.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("%d ports", n), func(b *testing.B) {
			table := openTable(b)
			if err := table.Change(nft.Rules{}, nft.Rules{Ports: manyPorts(n)}); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := table.Change(nft.Rules{}, onePort); err != nil {
					b.Fatal(err)
				}
				if err := table.Change(onePort, nft.Rules{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A machine comes and goes.
func BenchmarkLink(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("%d links", n), func(b *testing.B) {
			table := openTable(b)
			var rules nft.Rules
			for i := range n {
				rules.Links = append(rules.Links, link(fmt.Sprintf("ve-%d", i), fmt.Sprintf("10.213.%d.%d/32", i>>8, i&0xff), fmt.Sprintf("fd00::%x/128", i)))
			}
			if err := table.Change(nft.Rules{}, rules); err != nil {
				b.Fatal(err)
			}
			one := nft.Rules{Links: []nft.Link{link("ve-x", "10.214.0.2/32", "fd01::2/128")}}
			for b.Loop() {
				if err := table.Change(nft.Rules{}, one); err != nil {
					b.Fatal(err)
				}
				if err := table.Change(one, nft.Rules{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTraffic(b *testing.B) {
	table := openTable(b)
	if err := table.Change(nft.Rules{}, nft.Rules{Ports: manyPorts(10_000)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := table.Traffic(); err != nil {
			b.Fatal(err)
		}
	}
}

// Ten thousand ports are added, found to be there, mended and removed, each at
// once.
func TestManyPorts(t *testing.T) {
	table := openTable(t)
	const many = 10_000
	rules := nft.Rules{Ports: manyPorts(many)}
	began := time.Now()
	change(t, table, nft.Rules{}, rules)
	t.Logf("added in %v", time.Since(began))
	if got, err := table.Traffic(); err != nil || len(got) != many {
		t.Fatalf("%d ports count, %v; want %d", len(got), err, many)
	}
	if mended, err := table.Reconcile(rules); err != nil || mended != nil {
		t.Errorf("mended %d, %v", len(mended), err)
	}
	run(t, "", "flush", "ruleset")
	began = time.Now()
	if mended, err := table.Reconcile(rules); err != nil || len(mended) != many+1 {
		t.Errorf("mended %d, %v; want %d", len(mended), err, many+1)
	}
	t.Logf("mended in %v", time.Since(began))
	// One that is not there makes it look at all of them.
	gone := nft.Rules{Ports: rules.Ports[:1]}
	change(t, table, gone, nft.Rules{})
	change(t, table, rules, nft.Rules{})
	if got, err := table.Traffic(); err != nil || len(got) != 0 {
		t.Errorf("%d ports count, %v; want none", len(got), err)
	}
}
