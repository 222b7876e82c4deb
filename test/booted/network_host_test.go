package booted

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/lan"
)

// joined is what the host is joined to, from the first test on that asks.
var joined = sync.OnceValues(lan.Join)

func joinedNetwork(t *testing.T) lan.Network {
	t.Helper()
	n, err := joined()
	must(t, err)
	return n
}

// here is the host itself.
var here lan.Place

// A dweller is a machine with a network of its own, in which nothing looks
// after that.
type dweller struct {
	lan.Place
	name         string
	leader       int
	link         string // the host's side
	v4, v6       netip.Addr
	prefix4      int
	gate4, gate6 netip.Addr // default routes
}

// startDweller starts a machine with these options that runs one command.
func startDweller(t *testing.T, name string, options ...string) dweller {
	t.Helper()
	joinedNetwork(t)
	t.Cleanup(func() { endDweller(t, name) })
	run(t, dwellerCommand(name, options...)...)
	return findDweller(t, name)
}

// dwellerCommand is what one is started with.
func dwellerCommand(name string, options ...string) []string {
	argv := append([]string{"machctl", "start", name, "--image=tiny", "--overlay", "--no-boot"}, options...)
	return append(argv, "--", "sleep", "infinity")
}

func endDweller(t *testing.T, name string) {
	t.Helper()
	observe(t, "systemctl", "kill", "--signal=KILL", transientOf(name))
	observe(t, "systemctl", "stop", transientOf(name))
	observe(t, "systemctl", "reset-failed", transientOf(name))
}

// findDweller looks at the network of a machine from outside.
func findDweller(t *testing.T, name string) dweller {
	t.Helper()
	leader, err := strconv.Atoi(run(t, "machctl", "show", "-P", "Leader", name))
	must(t, err)
	d := dweller{Place: lan.Of(leader), name: name, leader: leader}
	d.link = hostSide(t, d.Place)
	for _, prefix := range addressesAt(t, d.Place, "host0") {
		if prefix.Addr().Is4() {
			d.v4, d.prefix4 = prefix.Addr(), prefix.Bits()
		} else {
			d.v6 = prefix.Addr()
		}
	}
	d.gate4, d.gate6 = defaultRoute(t, d.Place, "-4"), defaultRoute(t, d.Place, "-6")
	return d
}

// hostSide returns the link of the host that is the other end of host0.
func hostSide(t *testing.T, place lan.Place) string {
	t.Helper()
	var inside, all []struct {
		Name  string `json:"ifname"`
		Index int    `json:"ifindex"`
		Peer  int    `json:"link_index"`
	}
	ipJSON(t, place, &inside, "link", "show", "dev", "host0")
	ipJSON(t, here, &all, "link", "show")
	for _, l := range all {
		if len(inside) == 1 && l.Index == inside[0].Peer {
			return l.Name
		}
	}
	t.Fatalf("host0 is %v, and leads to none of %v", inside, all)
	return ""
}

// wantNetwork checks that a machine has what it takes to reach others.
func (d dweller) wantNetwork(t *testing.T) {
	t.Helper()
	if !d.v4.IsValid() || !d.v6.IsValid() || !d.gate4.IsValid() || !d.gate6.IsValid() {
		t.Fatalf("%s has the addresses %v and %v, and the default routes %v and %v", d.name, d.v4, d.v6, d.gate4, d.gate6)
	}
}

// serve has a server answer in the machine, by the machine's name. As long as
// that is open, the machine's links outlive it.
func (d dweller) serve(t *testing.T, port int) *lan.Server {
	t.Helper()
	return serveAt(t, d.Place, d.name, port)
}

func serveAt(t *testing.T, place lan.Place, name string, port int) *lan.Server {
	t.Helper()
	server, err := place.Serve(name, port)
	must(t, err)
	t.Cleanup(server.Close)
	return server
}

// ipJSON asks ip there.
func ipJSON(t *testing.T, place lan.Place, into any, args ...string) {
	t.Helper()
	out, err := place.Command(t.Context(), append([]string{"ip", "-j"}, args...)...).Output()
	must(t, err)
	if len(out) > 0 {
		must(t, json.Unmarshal(out, into))
	}
}

// addressesAt returns the addresses of a link that are not the link's own.
func addressesAt(t *testing.T, place lan.Place, link string) (prefixes []netip.Prefix) {
	t.Helper()
	var links []struct {
		Addresses []struct {
			Local     netip.Addr `json:"local"`
			Length    int        `json:"prefixlen"`
			Tentative bool       `json:"tentative"`
		} `json:"addr_info"`
	}
	ipJSON(t, place, &links, "address", "show", "dev", link, "up")
	for _, l := range links {
		for _, a := range l.Addresses {
			if !a.Local.IsValid() || a.Local.IsLinkLocalUnicast() {
				continue
			}
			if a.Tentative {
				t.Errorf("%s of %s is tentative", a.Local, link)
			}
			prefixes = append(prefixes, netip.PrefixFrom(a.Local, a.Length))
		}
	}
	return prefixes
}

// defaultRoute returns the first router of a family, "-4" or "-6".
func defaultRoute(t *testing.T, place lan.Place, family string) netip.Addr {
	t.Helper()
	var routes []struct {
		Gateway netip.Addr `json:"gateway"`
	}
	ipJSON(t, place, &routes, family, "route", "show", "default")
	if len(routes) == 0 {
		return netip.Addr{}
	}
	return routes[0].Gateway
}

// at is ADDRESS:PORT.
func at(addr any, port int) string { return net.JoinHostPort(fmt.Sprint(addr), strconv.Itoa(port)) }

// wantAnswer checks who answers at an address, and, if seen is valid, whom he
// takes the asking one for.
func wantAnswer(t *testing.T, from lan.Place, network, address, who string, seen netip.Addr) {
	t.Helper()
	got, err := from.Ask(network, address)
	if err != nil || got.Name != who {
		t.Errorf("%s at %s: %q, %v, want %q", network, address, got.Name, err, who)
		return
	}
	if seen.IsValid() && got.Client != seen {
		t.Errorf("%s at %s: %s takes me for %s, want %s", network, address, who, got.Client, seen)
	}
}

// wantRefusal checks that somebody is there who refuses.
func wantRefusal(t *testing.T, from lan.Place, address string) {
	t.Helper()
	if got, err := from.Ask("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("at %s: %q, %v, want %v", address, got.Name, err, syscall.ECONNREFUSED)
	}
}

// wantNobody checks that there is no answer, refusals included.
func wantNobody(t *testing.T, from lan.Place, network, address string) {
	t.Helper()
	if got, err := from.Ask(network, address); err == nil {
		t.Errorf("%s at %s: %s answers", network, address, got.Name)
	}
}

// tables returns the ruleset of others, whose counters count on.
func tables(t *testing.T) string {
	t.Helper()
	var others strings.Builder
	for line := range strings.Lines(run(t, "nft", "--stateless", "list", "tables")) {
		words := strings.Fields(line) // table inet machd
		if len(words) == 3 && words[2] != "machd" {
			others.WriteString(run(t, "nft", "--stateless", "list", "table", words[1], words[2]) + "\n")
		}
	}
	return others.String()
}

// knobsAtRest are the switches as they are while no machine has a network.
func knobsAtRest(t *testing.T) map[string]string {
	t.Helper()
	eventually(t, "no machine has a network", func() error {
		if tables := run(t, "nft", "list", "tables"); strings.Contains(tables, "inet machd") {
			return errors.New("there are rules for one")
		}
		return nil
	})
	linksGone(t)
	return knobs(t)
}

// linksGone waits for the links of machines that were killed, which the kernel
// takes away some time later. Bridges of zones stay.
func linksGone(t *testing.T) {
	t.Helper()
	eventually(t, "no machine has a link", func() error {
		for _, pattern := range []string{"ve-*", "vb-*"} {
			if left, _ := filepath.Glob("/sys/class/net/" + pattern); len(left) > 0 {
				return fmt.Errorf("there is %q", left)
			}
		}
		return nil
	})
}

// knobs are the switches of the kernel's that machines with networks may need.
func knobs(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, pattern := range []string{
		"ipv4/ip_forward", "ipv4/conf/*/forwarding", "ipv4/conf/*/route_localnet", "ipv4/conf/*/rp_filter",
		"ipv6/conf/*/forwarding", "ipv6/conf/*/force_forwarding", "ipv6/conf/*/accept_ra", "ipv6/conf/*/proxy_ndp",
	} {
		paths, err := filepath.Glob("/proc/sys/net/" + pattern)
		must(t, err)
		for _, path := range paths {
			if value, err := os.ReadFile(path); err == nil {
				values[path] = strings.TrimSpace(string(value))
			}
		}
	}
	return values
}

// remains is what the network of a machine can leave: links, addresses of its
// own, elements of our table, files of ours.
func remains(t *testing.T, d dweller) (found []string) {
	t.Helper()
	for _, argv := range [][]string{
		{"ip", "-o", "address"}, {"ip", "-o", "link"}, {"ip", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
		{"nft", "list", "tables"}, {"nft", "list", "ruleset"},
		{"sh", "-c", "find /run/machd /run/systemd/network 2>/dev/null"},
	} {
		for line := range strings.Lines(run(t, argv...)) {
			for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n,{}/\"@", r) }) {
				if word == d.name || word == d.name+".json" || word == d.link || word == d.v4.String() || word == d.gate4.String() || word == d.v6.String() || word == d.gate6.String() {
					found = append(found, argv[0]+": "+strings.TrimSpace(line))
				}
			}
		}
	}
	return found
}

// wantNoRemains checks that a machine that has ended has left nothing.
func wantNoRemains(t *testing.T, d dweller) {
	t.Helper()
	eventually(t, "nothing of its network is left", func() error {
		if found := remains(t, d); len(found) > 0 {
			return fmt.Errorf("there is\n%s", strings.Join(found, "\n"))
		}
		return nil
	})
}

func wantUnchanged(t *testing.T, what string, before, after any) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s (-before +after):\n%s", what, diff)
	}
}
