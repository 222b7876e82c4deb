package doctor

import (
	"testing"
)

func TestServices(t *testing.T) {
	silent := func(_ *testing.T, w *world) { w.stopServing() }
	try(t, "c1", []breakage{
		{"no DHCP", "dhcp", silent, []string{"nobody answers the machine by DHCP"}, false},
		{"another DHCP", "dhcp", func(t *testing.T, w *world) { w.serve(t, "10.213.0.3") }, []string{"offered 10.213.0.3", "10.213.0.2"}, false},
		{"no router", "router", silent, []string{"no router answers"}, false},
		{"no DNS", "dns", silent, []string{"10.213.0.1 does not answer", "Nobody listens"}, false},
		{"DNS behind a firewall", "dns", func(_ *testing.T, w *world) {
			w.host.sh(`nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }; add rule inet fw in meta l4proto ipv6-icmp accept'`)
		}, []string{"10.213.0.1 does not answer", "inet fw in (policy drop)", "nft insert rule inet fw in iifname ve-c1 udp dport 53 accept"}, false},
		{"DNS behind ufw", "dns", func(_ *testing.T, w *world) {
			w.host.sh(`nft 'add table ip filter; add chain ip filter ufw-user-input; add chain ip filter INPUT { type filter hook input priority 0; policy drop; }'`)
		}, []string{"10.213.0.1 does not answer", "ip filter INPUT (policy drop), of ufw", "ufw allow in on ve-c1 to any port 53"}, false},
		{"host without names", "dns", func(t *testing.T, w *world) {
			w.serve(t, guest4, upstreamFails+"=yes")
			write(t, w.paths.Resolv, "nameserver 127.0.0.4\n")
		}, []string{"no name server of the host answers"}, false},
		{"no server", "dns", func(t *testing.T, w *world) { w.guest.resolv(t, "# nothing") }, []string{"names no server", "nameserver 10.213.0.1"}, false},
		{"server that is not there", "dns", func(t *testing.T, w *world) { w.guest.resolv(t, "nameserver 127.0.0.53") },
			[]string{"127.0.0.53, where nobody in it listens"}, false},
	})
}

// Servers that do not know the root are none that do not answer.
func TestHostWithNamesOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve(t, guest4, upstreamFails+"=yes")
	wantWell(t, w.look(t, "c1", "dns"))
	wantWell(t, w.look(t, "", "names"))
	write(t, w.paths.Resolv, "nameserver 127.0.0.4\n")
	wantFinding(t, w.look(t, "", "names"), "no name server of the host answers")
}
