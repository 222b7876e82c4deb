package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/netlab"
)

// inside returns what a command prints in a machine.
func (l *lab) inside(g guestHost, argv ...string) string {
	l.Helper()
	var out []byte
	netlab.In(l, g.ns, func() (err error) {
		out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return err
	})
	return string(out)
}

// reaches tells whether somebody answers the machine at an address, be it that
// nothing listens there.
func (l *lab) reaches(g guestHost, address string) {
	l.Helper()
	netlab.In(l, g.ns, func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(address, "9"), 2*time.Second)
		if err == nil {
			c.Close()
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		return err
	})
}

// traces is all of a network that a host shows.
func traces(t testing.TB, l *lab) string {
	t.Helper()
	var all strings.Builder
	for _, argv := range [][]string{{"nft", "list", "ruleset"}, {"ip", "-o", "address"}, {"ip", "route", "show", "table", "all"}} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
		all.WriteString(strings.ReplaceAll(string(out), " tentative", ""))
	}
	for _, path := range []string{"ipv4/ip_forward", "ipv4/conf/up0/forwarding", "ipv6/conf/all/forwarding", "ipv6/conf/up0/forwarding"} {
		text, err := os.ReadFile("/proc/sys/net/" + path)
		l.must(err)
		all.WriteString(path + " " + string(text))
	}
	records, err := filepath.Glob(l.paths.Run + "/*")
	l.must(err)
	all.WriteString(strings.Join(records, " "))
	return all.String()
}

func TestAMachineHasItsNetworkWhenItIsRegistered(t *testing.T) {
	l := newLab(t)
	before := traces(t, l)
	g := l.start("c8-ns")
	s := l.status(g)
	if !s.Managed || s.By != machd.NetworkByMachd || s.Link != "ve-c8-ns" || len(s.Problems) > 0 || len(s.Addresses) != 2 {
		t.Errorf("its network is %+v", s)
	}
	addresses := l.inside(g, "ip", "-o", "address", "show", "host0")
	routes := l.inside(g, "ip", "route") + l.inside(g, "ip", "-6", "route")
	for _, address := range s.Addresses {
		if !strings.Contains(addresses, " "+address+" ") {
			t.Errorf("host0 has not %s:\n%s", address, addresses)
		}
	}
	for _, gateway := range s.Gateways {
		if !strings.Contains(routes, "default via "+gateway+" ") {
			t.Errorf("there is no way out by %s:\n%s", gateway, routes)
		}
		l.reaches(g, gateway)
	}
	l.reaches(g, "192.0.2.1")
	l.end(g)
	if after := traces(t, l); after != before {
		t.Errorf("it has left\n%s\nof before\n%s", after, before)
	}
	again := l.start("c8-ns")
	if got := l.status(again).Addresses; !slices.Equal(got, s.Addresses) {
		t.Errorf("it comes back with %v, not %v", got, s.Addresses)
	}
	l.end(again)
}

func TestMachinesThatAreNotOursAreLeftAlone(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct {
		prepare func(name string)
		by      string
	}{
		"unwanted": {func(name string) {
			l.write(l.paths.Settings[0]+"/"+name+".nspawn", "[X-Machd]\nNetwork=no\n")
		}, ""},
		"told": {func(name string) {
			l.active["systemd-networkd.service"] = true
			l.write(l.paths.Networkd[0]+"/50-mine.network", "[Match]\nName=ve-told\n[Network]\nAddress=10.9.9.1/24\n")
			l.write(l.paths.Stock+"/80-container-ve.network", "[Match]\nKind=veth\nName=ve-*\n")
		}, machd.NetworkByAdministrator},
		"handmade": {nil, machd.NetworkByAdministrator},
	} {
		if c.prepare != nil {
			c.prepare(name)
		}
		g := l.boot(name, "ve-"+name, "")
		if c.prepare == nil {
			run(t, "ip", "address", "add", "10.9.8.1/24", "dev", "ve-"+name)
		}
		l.register(g)
		if s := l.status(g); s.Managed || s.By != c.by || len(s.Addresses) > 0 {
			t.Errorf("%s: %+v", name, s)
		}
		if got := l.inside(g, "ip", "-o", "address"); strings.Contains(got, "host0") {
			t.Errorf("%s has addresses:\n%s", name, got)
		}
		if err := l.AddPorts(t.Context(), name, ports(t, "8080"), false); !errors.Is(err, machine1.ErrNotSupported) {
			t.Errorf("%s: a port is added: %v", name, err)
		}
		l.end(g)
	}
	// What the stock file says is for the machines that we have.
	g := l.start("ordinary")
	if s := l.status(g); !s.Managed {
		t.Errorf("ordinary: %+v", s)
	}
	l.end(g)
}

func TestAFailureIsTakenBackAndTold(t *testing.T) {
	l := newLab(t)
	g := l.boot("broken", "ve-broken", "")
	l.inside(g, "ip", "link", "set", "host0", "name", "other0")
	before := traces(t, l)
	l.register(g)
	s := l.status(g)
	if s.Managed || len(s.Problems) == 0 || !strings.Contains(s.Problems[0], "host0") {
		t.Errorf("its network is %+v", s)
	}
	if got, want := traces(t, l), before+l.paths.Run+"/broken.json"; got != want {
		t.Errorf("it has left\n%s\nof before\n%s", got, before)
	}
	l.end(g)
}

func TestAMachineInAZoneIsReachedByOthersOfIt(t *testing.T) {
	l := newLab(t)
	before := traces(t, l)
	run(t, "ip", "link", "add", "vz-web", "type", "bridge")
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("vz-web"); err == nil {
			netlink.LinkDel(l)
		}
	})
	a, b := l.boot("a", "vb-a", "vz-web"), l.boot("b", "vb-b", "vz-web")
	l.register(a)
	l.register(b)
	if l.status(a).Zone != "web" || l.status(a).Gateways[0] != l.status(b).Gateways[0] {
		t.Errorf("they are apart: %+v, %+v", l.status(a), l.status(b))
	}
	for _, address := range l.status(b).Addresses {
		host, _, _ := strings.Cut(address, "/")
		l.reaches(a, host)
	}
	if found, known := l.lookup(l.of("a").place(), "b"); !known || len(found) != 2 {
		t.Errorf("b is found at %v", found)
	}
	address, _, _ := strings.Cut(l.status(b).Addresses[0], "/")
	if name, known := l.reverse(l.of("a").place(), netip.MustParseAddr(address)); name != "b" || !known {
		t.Errorf("%s is that of %q", address, name)
	}
	if found, known := l.lookup(l.of("a").place(), "example.com"); known {
		t.Errorf("example.com is found at %v", found)
	}
	apart := Request{Machine: "c", Kind: machd.LinkZone, Shared: "web", Options: machd.NetworkOptions{Addresses: []string{"10.7.9.2/24"}}}
	if _, err := l.Plan(apart); err == nil || !strings.Contains(err.Error(), "is not in the network of zone web") {
		t.Errorf("another network in the zone: %v", err)
	}
	apart.Options.Addresses = []string{l.status(b).Addresses[0]}
	if _, err := l.Plan(apart); err == nil || !strings.Contains(err.Error(), "is that of machine b") {
		t.Errorf("an address twice in the zone: %v", err)
	}
	l.end(a)
	l.reaches(b, l.status(b).Gateways[0])
	l.end(b)
	run(t, "ip", "link", "delete", "vz-web")
	if after := traces(t, l); after != before {
		t.Errorf("they have left\n%s\nof before\n%s", after, before)
	}
}
