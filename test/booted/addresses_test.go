package booted

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/machd/machd/pkg/machine1"
)

// The namespace belongs to the host's user namespace, so the kernel tells its
// addresses to nobody without CAP_NET_ADMIN.
func TestAddressesOfANetworkNamespace(t *testing.T) {
	t.Parallel()
	const name = "own-network"
	p := startProcess(t, name, "--property=PrivateNetwork=yes", "--service-type=exec")
	inside := func(argv ...string) {
		t.Helper()
		run(t, append([]string{"nsenter", "--net", "--target", strconv.Itoa(p.pid), "ip"}, argv...)...)
	}
	inside("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	inside("address", "add", "192.0.2.7/24", "dev", "eth0")
	inside("address", "add", "2001:db8::7/64", "dev", "eth0", "nodad")
	inside("link", "set", "eth0", "up")
	w := watch(t)
	register(t, w, name, p)

	var rows []machine1.Address
	must(t, w.call(t, "GetMachineAddresses", []any{name}, &rows))
	var got []netip.Addr
	for _, row := range rows {
		if addr := row.Addr(); !addr.IsLinkLocalUnicast() {
			got = append(got, addr)
		}
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestAddressesOfTheHostsNetworkAreNoMachines(t *testing.T) {
	t.Parallel()
	const name = "shared-network"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	var rows []machine1.Address
	wantError(t, w.call(t, "GetMachineAddresses", []any{name}, &rows), machine1.ErrNoPrivateNetworking)
}
