package network

import (
	"net/netip"
	"testing"
)

func TestEveryLinkHasANetworkOfItsOwn(t *testing.T) {
	for _, p := range append(pools4, zonePools4...) {
		seen := map[netip.Prefix]bool{}
		for slot := range p.size() {
			n := p.prefix(slot)
			if !p.whole.Contains(n.Addr()) || n.Masked() != n || seen[n] {
				t.Fatalf("slot %d of %s is %s", slot, p.whole, n)
			}
			seen[n] = true
		}
	}
}

// Addresses hang on the hash: a version that changes it moves every machine.
func TestAddressesStayForEver(t *testing.T) {
	n := pools4[0].prefix(pools4[0].slot("c8-ns"))
	if got, want := nth(n, 2).String(), "10.213.53.134"; got != want {
		t.Errorf("c8-ns has %s, want %s", got, want)
	}
	links := site{whole: uniqueLocal("0123456789abcdef0123456789abcdef")}
	if got, want := nth(links.prefix(links.slot("c8-ns")), 2).String(), "fdc9:65bb:c457:d61::2"; got != want {
		t.Errorf("c8-ns has %s, want %s", got, want)
	}
}

func TestZonesHaveOtherNetworksThanLinks(t *testing.T) {
	whole := uniqueLocal("0123456789abcdef0123456789abcdef")
	seen := map[netip.Prefix]bool{}
	for _, s := range []site{{whole, false}, {whole, true}} {
		for slot := range s.size() {
			p := s.prefix(slot)
			if p.Bits() != 64 || !whole.Contains(p.Addr()) || seen[p] {
				t.Fatalf("slot %d is %s", slot, p)
			}
			seen[p] = true
		}
	}
}
