package doctor

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
)

func TestHostNetwork(t *testing.T) {
	host := func(lines string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.host.sh(lines) }
	}
	try(t, "", []breakage{
		{"all rules flushed", "table", host("nft flush ruleset"), []string{"inet machd is not there", "flush ruleset"}, true},
		{"closed firewall, no machine", "firewall", func(t *testing.T, w *world) {
			load(docker)(t, w)
			w.machines = nil
		}, []string{"docker drops what it does not know: ip filter FORWARD (policy drop)", "DOCKER-USER -i ve-NAME"}, false},
		{"host has the address", "clash", host("ip addr add 10.213.0.2/32 dev eth0"), []string{"c1 has the address 10.213.0.2, and so has eth0"}, false},
		{"network of the uplink", "clash", host("ip addr add 10.213.7.7/16 dev eth0"), []string{"10.213.0.0/30 of c1 is part of 10.213.0.0/16 on eth0"}, false},
		{"network behind the uplink", "clash", host("ip route add 10.213.0.0/24 via 192.168.7.254"), []string{"part of 10.213.0.0/24 on eth0"}, false},
		{"address twice", "clash", func(t *testing.T, w *world) {
			other := w.network.attachments[0]
			other.Machine, other.Link, other.Addresses = "c2", "ve-c2", []netip.Prefix{netip.MustParsePrefix(guest4 + "/30")}
			w.network.attachments = append(w.network.attachments, other)
			w.machines = append(w.machines, machine.Machine{Name: "c2", Class: "container"})
		}, []string{"c1 and c2 both have the address 10.213.0.2"}, false},
		{"address taken in the machine", "clash", func(_ *testing.T, w *world) {
			w.guest.sh("ip addr add 192.168.7.1/32 dev host0")
		}, []string{"c1 has the address 192.168.7.1, and so has eth0"}, false},
		{"link of nobody", "leftover", host("ip link add ve-gone type veth peer name x"), []string{"no machine has the link ve-gone", "ip link delete ve-gone"}, false},
		{"empty zone", "leftover", host("ip link add vz-z type bridge"), []string{"no machine has the link vz-z"}, false},
		{"table of a diagnosis", "leftover", host("nft 'add table inet machd-doctor; add chain inet machd-doctor left'"), []string{"inet machd-doctor was left"}, true},
		{"link of a diagnosis", "leftover", host("ip link add machd-probe0 type veth peer name machd-probe1"), []string{"machd-probe0 was left"}, true},
		{"record of a network", "leftover", func(t *testing.T, w *world) { write(t, w.paths.Records+"/gone.json", "{}") },
			[]string{"the network of gone is still written down"}, false},
	})
}

// What a diagnosis must not call left over.
func TestLeftoversThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.sh("ip link add vz-z type bridge; ip link add vb-x type veth peer name y; ip link set vb-x master vz-z; ip link add ve-b type veth peer name ve-c")
	w.network.starting = []string{"b"}
	write(t, w.paths.Records+"/b.json", "{}")
	wantWell(t, w.look(t, "", "leftover"))
}

// A firewall that is closed is no trouble where it lets machines through.
func TestOpenedFirewall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	load(docker)(t, w)
	w.host.sh("nft 'insert rule ip filter DOCKER-USER iifname ve-c1 accept; insert rule ip filter DOCKER-USER oifname ve-c1 accept'")
	found, err := w.doctor.Diagnose(t.Context(), "", machd.DiagnoseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantWell(t, found)
	if !slices.ContainsFunc(found, func(f machd.Finding) bool { return f.Check == "firewall" && f.What != hostChecks[1].well }) {
		t.Errorf("the firewall is not told of: %+v", found)
	}
}

func TestConntrack(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	w.paths.Sysctl = t.TempDir()
	w.doctor = newDoctor(w, nil)
	limit := func(count, most string) {
		write(t, w.paths.Sysctl+"/net/netfilter/nf_conntrack_count", count+"\n")
		write(t, w.paths.Sysctl+"/net/netfilter/nf_conntrack_max", most+"\n")
	}
	limit("10", "100")
	wantWell(t, w.look(t, "", "conntrack"))
	limit("91", "100")
	if f := wantFinding(t, w.look(t, "", "conntrack"), "follows 91 connections", "nf_conntrack_max=200"); f.Level != machd.LevelWarning {
		t.Errorf("it is a %s", f.Level)
	}
	limit("100", "100")
	if f := wantFinding(t, w.look(t, "", "conntrack"), "It is full"); f.Level != machd.LevelError {
		t.Errorf("it is a %s", f.Level)
	}
}
