package netns_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/pkg/machine1"
)

func init() { runtime.LockOSThread() }

// The tests run in a network namespace of their own, which plays the host's.
func TestMain(m *testing.M) {
	const inside = "MACHD_TEST_NETNS"
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a network namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestTheAddressOfTheLinkToTheHostIsFirst(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.add(t, bridge("docker0"), "172.17.0.1/16", "fd01::1/64")
	n.add(t, inner("a"), "192.168.1.1/24")
	n.addVeth(t, "host0", "169.254.9.9/16", "10.0.0.2/24", "10.0.0.3/24", "fd00::2/64")
	const want = "10.0.0.2 10.0.0.3 169.254.9.9 192.168.1.1 172.17.0.1 fd00::2 fd01::1"
	if got := n.get(t); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAddressesKnowTheirLinks(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.add(t, inner("a"), "10.0.0.2/24", "192.168.1.1/24")
	n.addVeth(t, "host0", "10.0.0.2/24")
	a, _ := n.LinkByName("a")
	host0, _ := n.LinkByName("host0")
	list, err := netns.LinkAddresses(t.Context(), n.leader, "m")
	if err != nil {
		t.Fatal(err)
	}
	want := []netns.LinkAddress{
		{Index: int32(host0.Attrs().Index), Addr: netip.MustParseAddr("10.0.0.2")},
		{Index: int32(a.Attrs().Index), Addr: netip.MustParseAddr("10.0.0.2")},
		{Index: int32(a.Attrs().Index), Addr: netip.MustParseAddr("192.168.1.1")},
	}
	if got := list[:min(3, len(list))]; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := n.get(t), "10.0.0.2 192.168.1.1"; got != want {
		t.Errorf("without links: got %q, want %q", got, want)
	}
}

func TestLinkLocalAddressesFollowOnTheirLink(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.addVeth(t, "host0", "169.254.1.1/16", "10.0.0.2/24", "fd00::2/64")
	list, err := netns.Addresses(t.Context(), n.leader, "m")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := join(t, list[:3]), "10.0.0.2 169.254.1.1 fd00::2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, a := range list[3:] {
		if !a.Addr().IsLinkLocalUnicast() {
			t.Errorf("%v comes late", a.Addr())
		}
	}
}

func TestABridgeWithTheLinkToTheHostIsTheLink(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.add(t, inner("a"), "192.168.1.1/24")
	n.add(t, bridge("docker0"), "172.17.0.1/16")
	n.add(t, bridge("br0"), "10.0.0.2/24")
	n.addVeth(t, "host0")
	port, _ := n.LinkByName("host0")
	master, _ := n.LinkByName("br0")
	if err := n.LinkSetMaster(port, master); err != nil {
		t.Fatal(err)
	}
	if got, want := n.get(t), "10.0.0.2 192.168.1.1 172.17.0.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALinkToTheHostOfAnotherNameIsFound(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.add(t, bridge("docker0"), "172.17.0.1/16")
	n.add(t, inner("a"), "172.18.0.1/16")
	n.addVeth(t, "eth0", "10.0.0.2/24")
	if got, want := n.get(t), "10.0.0.2 172.18.0.1 172.17.0.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAddressesThatAreNotShown(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.add(t, inner("a"), "10.0.0.2/24")
	n.set(t, "lo", "10.0.0.9/32")
	a, _ := n.LinkByName("a")
	for _, address := range []*netlink.Addr{
		{IPNet: netlink.NewIPNet(net.ParseIP("fd00::1")), PreferedLft: 0, ValidLft: 1000},                // deprecated
		{IPNet: netlink.NewIPNet(net.ParseIP("10.0.0.10").To4()), Scope: unix.RT_SCOPE_HOST},             // of the host
		{IPNet: netlink.NewIPNet(net.ParseIP("10.0.0.11").To4()), Peer: netlink.NewIPNet(net.IPv4bcast)}, // with a peer
	} {
		if err := n.AddrAdd(a, address); err != nil {
			t.Fatal(err)
		}
	}
	// On lo only the addresses of the scope host are left out.
	if got, want := n.get(t), "10.0.0.9 10.0.0.2 10.0.0.11"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestANetworkWithoutAddressesHasNone(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	list, err := netns.Addresses(t.Context(), n.leader, "m")
	if err != nil || list == nil || len(list) != 0 {
		t.Errorf("got %v, %v; want an empty list", list, err)
	}
}

func TestASharedNetworkIsSaidToBe(t *testing.T) {
	t.Parallel()
	n := startProcess(t, syscall.CLONE_NEWUTS)
	_, err := netns.Addresses(t.Context(), n.leader, "c8-ns")
	const want = "Machine c8-ns does not use private networking"
	if !errors.Is(err, machine1.ErrNoPrivateNetworking) || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestADeadMachineHasNoAddresses(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.kill()
	if _, err := netns.Addresses(t.Context(), n.leader, "m"); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v, want no such process", err)
	}
}

func TestTheHostsOwnAddresses(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.addVeth(t, "host0", "10.9.0.2/24")
	link, err := netlink.LinkByName(fmt.Sprintf("ve-%d", n.leader.PID()))
	if err != nil {
		t.Fatal(err)
	}
	address, _ := netlink.ParseAddr("10.9.0.1/24")
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	list, err := netns.Addresses(t.Context(), nil, machine1.Host)
	if err != nil {
		t.Fatal(err)
	}
	if got := join(t, list); !strings.Contains(got, "10.9.0.1") || strings.Contains(got, "10.9.0.2") {
		t.Errorf("got %q, want 10.9.0.1 and not 10.9.0.2", got)
	}
}

func TestTooManyAddressesAreCut(t *testing.T) {
	t.Parallel()
	n := startNetwork(t)
	n.addVeth(t, "host0")
	link, _ := n.LinkByName("host0")
	for i := range 5000 {
		ip := net.IPv4(10, 0, byte(i>>8), byte(i))
		if err := n.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(ip.To4())}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := netns.Addresses(t.Context(), n.leader, "m")
	if err != nil || len(list) != 4096 {
		t.Errorf("got %d addresses, %v; want 4096", len(list), err)
	}

	// The rest of them is nothing to the next machine.
	other, shared := startNetwork(t), startProcess(t, syscall.CLONE_NEWUTS)
	other.add(t, inner("a"), "10.8.0.2/24")
	var r netns.Reader
	defer r.Close()
	for range 3 {
		many, err := r.LinkAddresses(t.Context(), n.leader, "m")
		if err != nil || len(many) != 4096 {
			t.Errorf("in a row: got %d addresses, %v; want 4096", len(many), err)
		}
		if _, err := r.LinkAddresses(t.Context(), shared.leader, "s"); !errors.Is(err, machine1.ErrNoPrivateNetworking) {
			t.Errorf("in a row: got %v of a shared network", err)
		}
		one, err := r.LinkAddresses(t.Context(), other.leader, "o")
		if err != nil || len(one) != 1 || one[0].Addr.String() != "10.8.0.2" {
			t.Errorf("in a row: got %v, %v; want 10.8.0.2", one, err)
		}
	}
}

// Not parallel: it counts descriptors.
func TestManyMachinesEachHaveTheirOwn(t *testing.T) {
	const machines = 40
	var networks []network
	for i := range machines {
		n := startNetwork(t)
		n.add(t, inner("a"), fmt.Sprintf("10.1.%d.2/24", i))
		networks = append(networks, n)
	}
	before := descriptors(t)
	var callers sync.WaitGroup
	for i, n := range networks {
		callers.Go(func() {
			for range 20 {
				if got, want := n.get(t), fmt.Sprintf("10.1.%d.2", i); got != want {
					t.Errorf("machine %d: got %q, want %q", i, got, want)
				}
			}
		})
	}
	callers.Wait()
	if diff := cmp.Diff(before, descriptors(t)); diff != "" {
		t.Errorf("descriptors (-before +after):\n%s", diff)
	}
}

func BenchmarkAddresses(b *testing.B) {
	const machines = 40
	var plain, several []network
	for i := range machines {
		n := startNetwork(b)
		n.addVeth(b, "host0", fmt.Sprintf("10.2.%d.2/24", i), "fd00::2/64")
		plain = append(plain, n)
		n = startNetwork(b)
		n.add(b, bridge("docker0"), "172.17.0.1/16")
		n.addVeth(b, "host0", fmt.Sprintf("10.3.%d.2/24", i), "fd00::2/64")
		several = append(several, n)
	}
	measure := func(name string, networks []network) {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := netns.Addresses(b.Context(), networks[i%machines].leader, "m"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	measure("one link", plain)
	measure("several links", several)
}

func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}
