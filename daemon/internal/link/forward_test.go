package link_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/link"
)

func ours(name string) bool { return strings.HasPrefix(name, "ve-") }

// A site is a host with a machine, and a router that its uplink eth0 leads to.
type site struct {
	host, machine, router space
	record                string
	guarded               *string // links that are open for us alone, as the guard knows them
}

func newSite(t *testing.T) site {
	t.Helper()
	s := site{newSpace(t, 0), newSpace(t, 0), newSpace(t, 0), filepath.Join(t.TempDir(), "sysctl"), new(string)}
	for _, n := range []space{s.host, s.machine, s.router} {
		// Addresses that links have by themselves are usable at once.
		n.set("net/ipv6/conf/default/accept_dad", "0")
	}
	s.host.connect("eth0", s.router, "lan")
	s.host.up("eth0", "192.0.2.2/24", "2001:db8::2/64")
	s.router.up("lan", "192.0.2.1/24", "2001:db8::1/64")
	s.host.connect("ve-a", s.machine, "host0")
	s.host.up("ve-a", "10.0.1.1/30", "fd00:1::1/64")
	s.machine.up("host0", "10.0.1.2/30", "fd00:1::2/64")
	s.machine.route("0.0.0.0/0", "10.0.1.1", "host0")
	s.machine.route("::/0", "fd00:1::1", "host0")
	s.router.route("10.0.1.0/30", "192.0.2.2", "lan")
	s.router.route("fd00:1::/64", "2001:db8::2", "lan")
	return s
}

func (s site) forwarder(t *testing.T) *link.Forwarder {
	t.Helper()
	f, err := link.NewForwarder(s.host.Space, s.record, ours, func(open4, open6 []string) error {
		*s.guarded = fmt.Sprintf("IPv4: %v, IPv6: %v", open4, open6)
		return nil
	})
	must(t, err)
	return f
}

func enable(t *testing.T, f *link.Forwarder) link.Forwarding {
	t.Helper()
	forwarding, err := f.Enable([]string{"ve-a"}, []string{"eth0"})
	must(t, err)
	return forwarding
}

// switches returns all switches of the host that decide what is forwarded and
// which routers are believed, but those of ve- links if it is asked to.
func (s site) switches(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, s.host.Inside(func() error {
		var paths []string
		for _, file := range []string{"forwarding", "force_forwarding", "route_localnet", "accept_ra"} {
			matches, err := filepath.Glob("/proc/sys/net/ipv?/conf/*/" + file)
			if err != nil {
				return err
			}
			paths = append(paths, matches...)
		}
		for _, path := range paths {
			value, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[strings.TrimPrefix(path, "/proc/sys/")] = strings.TrimSpace(string(value))
		}
		return nil
	}))
	return found
}

// passes reports whether the router has an answer to the machine in that time.
func (s site) passes(t *testing.T, address string, within time.Duration) bool {
	t.Helper()
	return connects(t, s.machine, s.router, netip.MustParseAddr(address), within)
}

func TestForwardingLetsPacketsPass(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			f := s.forwarder(t)
			if kernel != "of today" {
				f.WithoutForce()
			}
			for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
				if s.passes(t, address, never) {
					t.Errorf("%s is reached before", address)
				}
			}
			enable(t, f)
			for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
				if !s.passes(t, address, patience) {
					t.Errorf("%s is not reached", address)
				}
			}
			s.host.is("net/ipv4/ip_forward", "0")
			s.host.is("net/ipv4/conf/all/route_localnet", "0")
			s.host.is("net/ipv4/conf/eth0/route_localnet", "0")
			s.host.is("net/ipv4/conf/ve-a/route_localnet", "1")
			s.host.is("net/ipv6/conf/ve-a/forwarding", "1")
			s.host.is("net/ipv6/conf/eth0/forwarding", "0")
			s.host.is("net/ipv6/conf/default/forwarding", "0")
		})
	}
}

func TestTheHostKeepsItsRouter(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.host.hears(s.router, "lan", "eth0")
			f := s.forwarder(t)
			if kernel != "of today" {
				f.WithoutForce()
			}
			enable(t, f)
			s.host.hasRouterBy("eth0")
			// What the router says later is taken, too.
			s.router.advertise("lan", 0)
			s.host.hasRouterBy("")
			s.host.hears(s.router, "lan", "eth0")
			// One more machine comes, after that.
			s.host.connect("ve-b", s.machine, "host1")
			if _, err := f.Enable([]string{"ve-b"}, []string{"eth0"}); err != nil {
				t.Fatal(err)
			}
			s.host.is("net/ipv6/conf/ve-b/forwarding", "1")
			s.host.hasRouterBy("eth0")
			must(t, f.Restore())
			s.host.is("net/ipv6/conf/eth0/accept_ra", "1")
			s.host.hasRouterBy("eth0")
			s.router.advertise("lan", 0)
			s.host.hasRouterBy("")
		})
	}
}

func TestAMachineIsNotTakenForARouter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.hears(s.machine, "host0", "ve-a") // so it would be
	enable(t, s.forwarder(t))
	s.host.hasRouterBy("")
	s.machine.advertise("host0", 1800)
	// Even if somebody takes the link for no router's any more.
	s.host.set("net/ipv6/conf/ve-a/forwarding", "0")
	s.machine.advertise("host0", 1800)
	s.host.hears(s.router, "lan", "eth0")
}

func TestWhoForwardsForUsAloneIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.connect("eth1", s.router, "lan1")
	s.host.set("net/ipv4/conf/eth1/forwarding", "1")
	f := s.forwarder(t)
	uplinks := []string{"eth0", "eth1", "eth9-has-gone"}
	for range 2 {
		got, err := f.Enable([]string{"ve-a"}, uplinks)
		must(t, err)
		if *s.guarded != "IPv4: [eth0], IPv6: [eth0 eth1]" || got.No6 != "" {
			t.Errorf("guarded are %s; %s", *s.guarded, got.No6)
		}
	}
	// The next daemon guards them again, though it need not change anything.
	*s.guarded = ""
	f = s.forwarder(t)
	_, err := f.Enable([]string{"ve-a"}, uplinks)
	must(t, err)
	if *s.guarded != "IPv4: [eth0], IPv6: [eth0 eth1]" {
		t.Errorf("guarded are %s", *s.guarded)
	}
	must(t, f.Restore())
	if *s.guarded != "IPv4: [], IPv6: []" {
		t.Errorf("in the end guarded are %s", *s.guarded)
	}
	f.WithoutForce()
	_, err = f.Enable([]string{"ve-a"}, uplinks[:1])
	must(t, err)
	if *s.guarded != "IPv4: [eth0], IPv6: [eth0 eth1]" {
		t.Errorf("where all links have to pass IPv6 on, guarded are %s", *s.guarded)
	}
}

func TestWhatIsNotGuardedStaysClosed(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			before := s.switches(t)
			refused := errors.New("refused")
			f, err := link.NewForwarder(s.host.Space, s.record, ours, func(open4, open6 []string) error {
				// It is asked before, and need do nothing for links of ours.
				if len(open4) > 0 {
					s.host.is("net/ipv4/conf/eth0/forwarding", "0")
				}
				if len(open4)+len(open6) == 0 {
					return nil
				}
				return refused
			})
			must(t, err)
			if kernel != "of today" {
				f.WithoutForce()
			}
			if _, err := f.Enable([]string{"ve-a"}, []string{"eth0"}); !errors.Is(err, refused) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, s.switches(t)); diff != "" {
				t.Errorf("switches (-before +after):\n%s", diff)
			}
			// Only IPv6 is left to open.
			s.host.set("net/ipv4/ip_forward", "1")
			before = s.switches(t)
			if _, err := f.Enable([]string{"ve-a"}, []string{"eth0"}); !errors.Is(err, refused) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, s.switches(t)); diff != "" {
				t.Errorf("switches (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAHostThatForwardsStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.set("net/ipv4/ip_forward", "1")
	s.host.set("net/ipv6/conf/all/forwarding", "1")
	s.host.set("net/ipv4/conf/eth0/forwarding", "0") // one link is to have none
	got := enable(t, s.forwarder(t))
	const want = "[net.ipv4.conf.ve-a.route_localnet = 1 (was 0) net.ipv6.conf.ve-a.accept_ra = 0 (was 1)]"
	if fmt.Sprint(got.Changed) != want {
		t.Errorf("changed was %v, want %s", got.Changed, want)
	}
	if *s.guarded != "IPv4: [], IPv6: []" {
		t.Errorf("guarded are %s", *s.guarded)
	}
}

func TestWhatOthersHaveChangedSinceIsLeftAlone(t *testing.T) {
	t.Parallel()
	t.Run("a switch", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		f := s.forwarder(t)
		enable(t, f)
		s.host.set("net/ipv4/conf/ve-a/route_localnet", "2")
		must(t, f.Restore())
		s.host.is("net/ipv4/conf/ve-a/route_localnet", "2")
		s.host.is("net/ipv4/conf/eth0/forwarding", "0")
	})
	t.Run("forwarding as a whole", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.host.hears(s.router, "lan", "eth0")
		f := s.forwarder(t)
		enable(t, f)
		s.host.set("net/ipv4/ip_forward", "1")
		s.host.set("net/ipv6/conf/all/forwarding", "1")
		must(t, f.Restore())
		s.host.is("net/ipv4/conf/eth0/forwarding", "1")
		s.host.is("net/ipv6/conf/eth0/accept_ra", "2")
		s.host.hasRouterBy("eth0")
	})
}

func TestWithoutIPv6ForwardingIsOfIPv4(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.set("net/ipv6/conf/all/disable_ipv6", "1")
	got := enable(t, s.forwarder(t))
	if got.No6 != "net.ipv6.conf.all.disable_ipv6 is 1" {
		t.Errorf("the reason is %q", got.No6)
	}
	if !s.passes(t, "192.0.2.1", patience) {
		t.Error("IPv4 does not pass")
	}
	for _, c := range got.Changed {
		if strings.HasPrefix(c.Path, "net/ipv6") {
			t.Errorf("changed was %v", c)
		}
	}
}
