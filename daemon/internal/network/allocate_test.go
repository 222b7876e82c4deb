package network

import (
	"net/netip"
	"path/filepath"
	"testing"
)

func nobody(netip.Prefix) (string, bool) { return "", false }

func overlapping(prefixes ...string) taken {
	return func(p netip.Prefix) (string, bool) {
		for _, text := range prefixes {
			if netip.MustParsePrefix(text).Overlaps(p) {
				return text, true
			}
		}
		return "", false
	}
}

func noLeases(t *testing.T) leases {
	t.Helper()
	l, err := readLeases(filepath.Join(t.TempDir(), "lib", "addresses"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAMachineKeepsItsNetwork(t *testing.T) {
	whole := uniqueLocal("id")
	for _, s := range []space{pools4[0], site{whole: whole}, site{whole, true}} {
		l := noLeases(t)
		natural, err := allocate("c8-ns", s, l, nobody)
		if err != nil {
			t.Fatal(err)
		}
		displaced, err := allocate("c8-ns", s, l, overlapping(natural.String()))
		if err != nil || displaced == natural {
			t.Fatalf("displaced to %s, %v", displaced, err)
		}
		if l, err = readLeases(l.path); err != nil {
			t.Fatal(err)
		}
		if again, err := allocate("c8-ns", s, l, nobody); err != nil || again != displaced {
			t.Errorf("after the other ended it has %s, not %s: %v", again, displaced, err)
		}
	}
}

func TestMachinesOfAZoneHaveAddressesOfTheirOwn(t *testing.T) {
	l := noLeases(t)
	network := netip.MustParsePrefix("10.214.7.0/24")
	var given []string
	for i := range 253 - 2 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		addr, err := allocateHost(name, network, l, overlapping(given...))
		if err != nil || !network.Contains(addr) || addr == nth(network, 1) || addr == lastOf(network) || addr == network.Addr() {
			t.Fatalf("machine %d has %s, %v", i, addr, err)
		}
		given = append(given, addr.String()+"/32")
	}
	if addr, err := allocateHost("more", network, l, overlapping(network.String())); err == nil {
		t.Errorf("got %s", addr)
	}
}

func TestNetworksThatTheHostIsPartOfAreAvoided(t *testing.T) {
	if got := choosePool(pools4, overlapping("10.0.0.0/8")); got != pools4[1] {
		t.Errorf("got %v", got)
	}
	if got := choosePool(pools4, overlapping("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")); got != pools4[0] {
		t.Errorf("got %v", got)
	}
}

func TestASpaceThatIsFullIsTold(t *testing.T) {
	all := func(netip.Prefix) (string, bool) { return "everybody", true }
	if got, err := allocate("c8-ns", pools4[0], noLeases(t), all); err == nil {
		t.Errorf("got %s", got)
	}
}
