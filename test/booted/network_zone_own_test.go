package booted

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

// lookUp asks for the addresses of a name from somewhere, as a program does
// that knows one server.
func lookUp(t *testing.T, from lan.Place, server netip.Addr, network, name string) ([]netip.Addr, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		return from.Dial(network, at(server, 53))
	}}
	return resolver.LookupNetIP(ctx, network, name)
}

func wantName(t *testing.T, from lan.Place, server netip.Addr, name string, want ...netip.Addr) {
	t.Helper()
	for _, w := range want {
		network := "ip4"
		if w.Is6() {
			network = "ip6"
		}
		got, err := lookUp(t, from, server, network, name)
		if err != nil || len(got) != 1 || got[0].Unmap() != w {
			t.Errorf("%s says that %s is %v, %v, want %v", server, name, got, err, w)
		}
	}
}

// Machines of a zone reach each other, by name too, and others as ever. Machines
// outside it do not know their names.
func TestMachdZoneIsShared(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	serveAt(t, n.Internet, "internet", 4040)
	one := startDweller(t, "shop-one", "--zone=shop", "-p", "8180:80")
	two := startDweller(t, "shop-two", "--zone=shop")
	apart := startDweller(t, "no-shop", "-n")
	servers := map[string]*lan.Server{}
	for _, d := range []dweller{one, two, apart} {
		d.wantNetwork(t)
		servers[d.name] = d.serve(t, 80)
	}
	if one.gate4 != two.gate4 || one.gate6 != two.gate6 || one.v4 == two.v4 || one.v6 == two.v6 {
		t.Errorf("one has %v, %v, by %v, %v, the other %v, %v, by %v, %v", one.v4, one.v6, one.gate4, one.gate6, two.v4, two.v6, two.gate4, two.gate6)
	}
	if got := addressesAt(t, here, "vz-shop"); len(got) != 2 {
		t.Errorf("its bridge has %v", got)
	}
	for _, c := range []struct{ from, to dweller }{{one, two}, {two, one}} {
		wantAnswer(t, c.from.Place, "tcp", at(c.to.v4, 80), c.to.name, c.from.v4)
		wantAnswer(t, c.from.Place, "udp", at(c.to.v6, 80), c.to.name, c.from.v6)
		wantName(t, c.from.Place, c.from.gate4, c.to.name, c.to.v4, c.to.v6)
		wantName(t, c.from.Place, c.from.gate6, strings.ToUpper(c.to.name), c.to.v4, c.to.v6)
		// As a program inside does that was told nothing.
		if out := run(t, "machctl", "exec", c.from.name, "--", "nslookup", c.to.name); !strings.Contains(out, c.to.v4.String()) || !strings.Contains(out, c.to.v6.String()) {
			t.Errorf("%s says of %s:\n%s", c.from.name, c.to.name, out)
		}
		wantAnswer(t, c.from.Place, "tcp", at(lan.Internet4, 4040), "internet", addr(lan.HostWide4))
		wantAnswer(t, c.from.Place, "tcp", at(lan.Internet6, 4040), "internet", addr(lan.HostWide6))
	}
	if got, err := lookUp(t, apart.Place, apart.gate4, "ip", one.name); err == nil {
		t.Errorf("outside the zone %s is %v", one.name, got)
	}
	// A port of one is reached by the other at the gateway, and by itself.
	for _, c := range []struct {
		from lan.Place
		addr any
	}{{here, "127.0.0.1"}, {here, "::1"}, {n.Outside, lan.Host6}, {two.Place, one.gate4}, {two.Place, lan.Host6}, {one.Place, one.gate6}, {apart.Place, apart.gate4}} {
		wantAnswer(t, c.from, "tcp", at(c.addr, 8180), one.name, nobody)
	}
	servers[one.name].Close()
	// The bridge stays as long as anybody needs it, and where it is.
	bridge := readFile(t, "/sys/class/net/vz-shop/address")
	run(t, "machctl", "stop", "--timeout=1", one.name)
	wantNoRemains(t, dweller{name: one.name, link: one.link, v4: one.v4, v6: one.v6})
	wantAnswer(t, two.Place, "tcp", at(lan.Internet4, 4040), "internet", addr(lan.HostWide4))
	if now := readFile(t, "/sys/class/net/vz-shop/address"); now != bridge {
		t.Errorf("the bridge's address is %s, was %s", now, bridge)
	}
	if got, err := lookUp(t, two.Place, two.gate4, "ip", one.name); err == nil {
		t.Errorf("%s is still %v", one.name, got)
	}
	servers[two.name].Close()
	run(t, "machctl", "stop", "--timeout=1", two.name)
	wantNoRemains(t, two)
	eventually(t, "the zone is gone", func() error {
		if out := observe(t, "ip", "link", "show", "vz-shop"); out.Code == 0 {
			return fmt.Errorf("%s", out.Stdout)
		}
		return nil
	})
}

// Where what crosses bridges goes through the rules of IP, as on a host with docker,
// a machine still reaches its own ports, and the doctor knows what it does not.
func TestMachdZoneWhereBridgesAreFiltered(t *testing.T) {
	n := joinedNetwork(t)
	must(t, lan.BridgeFilter(true))
	t.Cleanup(func() { must(t, lan.BridgeFilter(false)) })
	serveNames(t)
	one := startDweller(t, "filtered-one", "--zone=filtered", "-p", "8185:80")
	two := startDweller(t, "filtered-two", "--zone=filtered")
	one.serve(t, 80)
	for _, c := range []struct {
		from lan.Place
		addr any
	}{
		{here, "127.0.0.1"}, {here, lan.Host4}, {n.Outside, lan.Host4}, {n.Outside, lan.Host6}, {two.Place, one.gate4}, {two.Place, one.gate6},
		{one.Place, one.gate4}, {one.Place, one.gate6}, {one.Place, lan.Host4},
	} {
		wantAnswer(t, c.from, "tcp", at(c.addr, 8185), one.name, nobody)
	}
	wantAnswer(t, two.Place, "tcp", at(one.v4, 80), one.name, two.v4)
	const filter = "net/bridge/bridge-nf-call-ip6tables"
	var bad []finding
	for _, f := range diagnose(t, one.name) {
		if f.bad() {
			bad = append(bad, f)
		}
	}
	if len(bad) != 1 {
		t.Errorf("the doctor says %+v", bad)
	}
	run(t, "sh", "-ec", wantFound(t, bad, "port", "does not answer at ::1", filter).Command)
	wantWellBy(t, one.name)
	wantAnswer(t, here, "tcp", "[::1]:8185", one.name, nobody)
}

// A machine in a bridge of the administrator's is his: it gets no address of
// ours, and that the host forwards to it is his, too: it would do so by itself for
// machines of other tests.
func TestMachdBridgeIsTheAdministrators(t *testing.T) {
	n := joinedNetwork(t)
	const forwards = "net.ipv4.ip_forward"
	before := run(t, "sysctl", "-n", forwards)
	run(t, "sysctl", "-q", "-w", forwards+"=1")
	t.Cleanup(func() { run(t, "sysctl", "-q", "-w", forwards+"="+before) })
	run(t, "ip", "link", "add", "br-adm", "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "delete", "br-adm") })
	run(t, "ip", "address", "add", "198.51.100.1/24", "dev", "br-adm")
	run(t, "ip", "link", "set", "br-adm", "up")
	plain := startDweller(t, "bridged", "--bridge=br-adm")
	if plain.v4.IsValid() || plain.gate4.IsValid() {
		t.Errorf("it has %v by %v, and nobody gave it any", plain.v4, plain.gate4)
	}
	// Somebody who asks for an address gets it.
	d := startDweller(t, "bridged-addr", "--bridge=br-adm", "--address=198.51.100.7/24", "--gateway=198.51.100.1", "-p", "8190:80", "--mac=02:00:00:00:00:77")
	if d.v4 != addr("198.51.100.7") || d.gate4 != addr("198.51.100.1") {
		t.Fatalf("it has %v by %v", d.v4, d.gate4)
	}
	server := d.serve(t, 80)
	wantAnswer(t, here, "tcp", at(d.v4, 80), d.name, addr("198.51.100.1"))
	wantAnswer(t, here, "tcp", at(lan.Host4, 8190), d.name, addr(lan.Host4))
	wantAnswer(t, n.Outside, "tcp", at(lan.Host4, 8190), d.name, addr(lan.Outside4))
	if !strings.Contains(linkInside(t, d), "02:00:00:00:00:77") {
		t.Errorf("its link is %s", linkInside(t, d))
	}
	server.Close()
	run(t, "machctl", "stop", "--timeout=1", d.name)
	if got := addressesAt(t, here, "br-adm"); len(got) != 1 || got[0] != netip.MustParsePrefix("198.51.100.1/24") {
		t.Errorf("the bridge has %v afterwards", got)
	}
	wantNoRemains(t, dweller{name: d.name, link: d.link, v4: d.v4})
}

// linkInside is what ip says of the machine's link.
func linkInside(t *testing.T, d dweller) string {
	t.Helper()
	out, err := d.Command(t.Context(), "ip", "link", "show", "dev", "host0").Output()
	must(t, err)
	return string(out)
}

// A machine can have the address of a link that it is told, and several links.
func TestMachdNetworkOfSeveralLinks(t *testing.T) {
	t.Parallel()
	d := startDweller(t, "many-links", "-n", "--mac=02:00:00:00:00:78", "--network-veth-extra=extra-out:extra-in")
	d.wantNetwork(t)
	var links []struct {
		Name string `json:"ifname"`
		MAC  string `json:"address"`
	}
	ipJSON(t, d.Place, &links, "link", "show")
	names := map[string]string{}
	for _, l := range links {
		names[l.Name] = l.MAC
	}
	for _, want := range []string{"host0", "extra-in"} {
		if names[want] == "" {
			t.Errorf("it has no %s, but %v", want, names)
		}
	}
	if names["host0"] != "02:00:00:00:00:78" {
		t.Errorf("host0 is %s", names["host0"])
	}
}
