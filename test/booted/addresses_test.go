package booted

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// Which address a container has is the one on its link to the host, whatever
// other links it has inside, and everybody is told the same.
func TestMachdAddressesBeginWithTheUsefulOne(t *testing.T) {
	const name = "useful"
	w := watch(t)
	installGuest(t, name)
	must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Network]\nVirtualEthernet=yes\n[X-Machd]\nNetwork=no\n"), 0o644))
	run(t, "systemctl", "start", "--no-block", serviceOf(name))
	w.await(t, "MachineNew", name)
	// Too early for any address, but no error.
	var early []machine1.Address
	must(t, w.call(t, "GetMachineAddresses", []any{name}, &early))
	leader := fmt.Sprint(w.properties(t, name)["Leader"])
	for _, argv := range [][]string{
		{"link", "add", "docker0", "type", "bridge"},
		{"address", "add", "10.0.0.1/8", "dev", "docker0"},
		{"link", "set", "docker0", "up"},
		{"address", "add", "169.254.9.9/16", "dev", "host0"},
		{"address", "add", "192.0.2.7/24", "dev", "host0"},
		{"address", "add", "2001:db8::7/64", "dev", "host0", "nodad"},
		{"link", "set", "host0", "up"},
	} {
		run(t, append([]string{"nsenter", "--net", "--target", leader, "ip"}, argv...)...)
	}
	var rows []machine1.Address
	must(t, w.call(t, "GetMachineAddresses", []any{name}, &rows))
	const want = "192.0.2.7"
	if len(rows) < 4 || rows[0].Addr().String() != want {
		t.Errorf("the addresses are %v, want %s first", rows, want)
	}
	for _, client := range clients() {
		words := strings.Fields(run(t, client, "--no-pager", "--no-legend", "list"))
		if len(words) < 6 || !strings.HasPrefix(words[5], want) {
			t.Errorf("%s lists %q", client, words)
		}
	}
	// Who resolves its name goes through nss-mymachines, if the host has an
	// address of that kind itself.
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "ve-"+name)
	run(t, "ip", "link", "set", "ve-"+name, "up")
	if got := strings.Fields(run(t, "getent", "ahostsv4", name)); got[0] != want {
		t.Errorf("its name is %q", got)
	}
	for _, client := range clients() {
		if host := run(t, client, "--no-pager", "--no-legend", "list", "-a", "--max-addresses=all"); !strings.Contains(host, "192.0.2.1\n") {
			t.Errorf("the host's address is not in %s's list:\n%s", client, host)
		}
	}
}
