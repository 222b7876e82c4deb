package network

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/machd/machd/daemon/internal/nft"
)

// A plan for a machine that runs tells of the rules that would be others.
func TestRulesThatStayAreNotToldOf(t *testing.T) {
	t.Parallel()
	link := nft.Link{Name: "ve-web", Sources: []netip.Prefix{netip.MustParsePrefix("10.213.0.2/32")}}
	port := func(n uint16) nft.Port {
		return nft.Port{Protocol: 6, Port: n, To: netip.MustParseAddrPort("10.213.0.2:80")}
	}
	before := nft.Rules{Links: []nft.Link{link}, Ports: []nft.Port{port(1), port(2)}, Uplinks: []nft.Uplink{{Name: "eth0"}}}
	if remove, add := changedRules(before, before); len(remove.Links)+len(remove.Ports)+len(remove.Uplinks) > 0 ||
		len(add.Links)+len(add.Ports)+len(add.Uplinks) > 0 {
		t.Errorf("nothing changes, and it is -%+v +%+v", remove, add)
	}
	remove, add := changedRules(before, nft.Rules{Links: []nft.Link{link}, Ports: []nft.Port{port(2), port(3)}, Uplinks: []nft.Uplink{{Name: "eth0"}}})
	if !reflect.DeepEqual(remove.Ports, []nft.Port{port(1)}) || !reflect.DeepEqual(add.Ports, []nft.Port{port(3)}) || len(remove.Links)+len(add.Links) > 0 {
		t.Errorf("one port for another is -%+v +%+v", remove, add)
	}
}
