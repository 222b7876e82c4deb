package network

import (
	"os"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

// A firewall is a program that has rules of its own.
type firewall struct {
	name        string
	start, stop []string // shell
	// Which ways it shuts that are open otherwise, and what its own manual says
	// to open them. What is not shut is open without.
	shuts   func(inward, outward []way) []way
	doctor  string // what a diagnosis names
	opening string // command that doctor tells, by a part of it
	open    []string
}

func none(_, _ []way) []way            { return nil }
func four(inward, outward []way) []way { return []way{inward[0], outward[0]} }
func all(inward, outward []way) []way  { return append(inward, outward...) }
func out(_, outward []way) []way       { return outward }

var firewalls = []firewall{
	{
		name: "docker",
		// It drops what it does not know only if it is who switches forwarding on.
		start: []string{"sysctl -qw net.ipv4.ip_forward=0", "systemctl start docker"}, stop: []string{"systemctl stop docker.socket docker containerd", "ip link delete docker0", "nft flush ruleset", "sysctl -qw net.ipv4.ip_forward=0"},
		shuts: four, doctor: "docker", opening: "DOCKER-USER",
		open: []string{"iptables -I DOCKER-USER -i ve-beside -j ACCEPT", "iptables -I DOCKER-USER -o ve-beside -j ACCEPT"},
	},
	{
		name:  "firewalld",
		start: []string{"systemctl start firewalld"}, stop: []string{"systemctl stop firewalld"},
		shuts: out, doctor: "firewalld", opening: "firewall-cmd",
		open: []string{"firewall-cmd -q --zone=trusted --add-interface=ve-beside"},
	},
	{
		name:  "ufw",
		start: []string{"ufw --force enable"}, stop: []string{"ufw --force disable", "ufw --force reset", "nft flush ruleset"},
		shuts: all, doctor: "ufw", opening: "ufw route allow",
		open: []string{"ufw route allow in on ve-beside", "ufw route allow out on ve-beside"},
	},
	{
		name:  "iptables",
		start: []string{"iptables -P FORWARD DROP", "ip6tables -P FORWARD DROP"}, stop: []string{"iptables -P FORWARD ACCEPT", "ip6tables -P FORWARD ACCEPT", "nft flush ruleset"},
		shuts: all, doctor: "FORWARD", opening: "ptables",
		open: []string{"iptables -I FORWARD -i ve-beside -j ACCEPT", "iptables -I FORWARD -o ve-beside -j ACCEPT", "ip6tables -I FORWARD -i ve-beside -j ACCEPT", "ip6tables -I FORWARD -o ve-beside -j ACCEPT"},
	},
	{
		name:  "libvirt",
		start: []string{"systemctl start libvirtd", "virsh -q -c network:///system net-create /run/test-network.xml"},
		stop:  []string{"virsh -q -c network:///system net-destroy default", "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd", "nft flush ruleset"},
		shuts: none,
	},
	{
		name:  "another table",
		start: []string{"nft 'add table inet strict; add chain inet strict forward { type filter hook forward priority filter; policy drop; }'"},
		stop:  []string{"nft delete table inet strict"},
		shuts: all, doctor: "inet strict", opening: "nft",
		open: []string{"nft 'add rule inet strict forward iifname ve-beside accept; add rule inet strict forward oifname ve-beside accept'"},
	},
}

const libvirtNetwork = `<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>`

// Whatever firewall there is, machd touches none of its rules, what needs no
// forwarding works, what the firewall shuts is told by machctl doctor with the
// firewall's name and what opens it, and it does.
func TestMachdBesideFirewalls(t *testing.T) {
	n := joinedNetwork(t)
	internet(t, n)
	must(t, os.WriteFile("/run/test-network.xml", []byte(libvirtNetwork), 0o644))
	must(t, os.RemoveAll("/etc/resolv.conf")) // a link to nowhere
	must(t, os.WriteFile("/etc/resolv.conf", []byte("nameserver "+lan.Internet4+"\n"), 0o644))
	for _, f := range firewalls {
		for _, order := range []string{"first", "later"} {
			t.Run(f.name+" "+order, func(t *testing.T) { beside(t, n, f, order == "first") })
		}
	}
}

func beside(t *testing.T, n lan.Network, f firewall, first bool) {
	shell := func(commands []string) {
		t.Helper()
		for _, c := range commands {
			run(t, "sh", "-c", c)
		}
	}
	t.Cleanup(func() {
		for _, c := range f.stop {
			observe(t, "sh", "-c", c)
		}
	})
	if first {
		shell(f.start)
	}
	before := others(t)
	w := startWeb(t, "beside")
	if first {
		wantUntouched(t, before)
	} else {
		shell(f.start)
	}
	before = others(t)
	local, inward, outward := ways(n, w)
	wantOpen(t, local)
	shut := f.shuts(inward, outward)
	for _, w2 := range shut {
		if open([]way{w2}) == nil {
			t.Errorf("%s is open already", w2.what)
		}
	}
	if len(shut) > 0 {
		got := observe(t, "machctl", "doctor", "--no-pager", w.name)
		if got.Code == 0 || !strings.Contains(got.Stdout, f.doctor) || !strings.Contains(got.Stdout, f.opening) {
			t.Errorf("doctor: exit status %d, it does not tell of %q and %q:\n%s%s", got.Code, f.doctor, f.opening, got.Stdout, got.Stderr)
		}
	}
	wantUntouched(t, before)
	shell(f.open)
	wantOpen(t, append(append(local, inward...), outward...))
	before = others(t)
	run(t, "machctl", "stop", "--timeout=1", w.name)
	wantUntouched(t, before)
}
