package doctor

import (
	"net"
	"os"
	"testing"
)

func TestLinks(t *testing.T) {
	host := func(lines string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.host.sh(lines) }
	}
	guest := func(lines string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.guest.sh(lines) }
	}
	try(t, "c1", []breakage{
		{"dead leader", "leader", func(t *testing.T, w *world) { w.guest.kill(t) }, []string{"has ended", "machctl terminate c1"}, false},
		{"no state file", "leader", func(t *testing.T, w *world) { os.Remove(w.paths.States + "/c1") }, []string{"no state file"}, false},
		{"problem of the start", "link", func(t *testing.T, w *world) {
			w.network.attachments[0].Problems = []string{"port 53 is dnsmasq's"}
		}, []string{"port 53 is dnsmasq's"}, false},
		{"host's end down", "link", host("ip link set ve-c1 down"), []string{"ve-c1 is down", "ip link set ve-c1 up"}, true},
		{"host's end gone", "link", host("ip link set ve-c1 name other"), []string{"no link ve-c1", "machctl reboot c1"}, false},
		{"machine's end down", "link", guest("ip link set host0 down"), []string{"host0 is down in the machine", "ip link set host0 up"}, false},
		{"machine's end renamed", "link", guest("ip link set host0 down; ip link set host0 name eth9"), []string{"no link host0"}, false},
		{"other hardware address", "link", func(_ *testing.T, w *world) {
			w.network.attachments[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
		}, []string{"and not 02:00:00:00:00:01", "ip link set host0 address 02:00:00:00:00:01"}, false},
		{"no IPv4 address", "address", guest("ip addr del 10.213.0.2/30 dev host0; ip addr add 10.9.9.9/24 dev host0"),
			[]string{"has not the address 10.213.0.2", "10.9.9.9/24", "ip addr add 10.213.0.2/30 dev host0"}, false},
		{"IPv6 off", "address", guest("sysctl -qw net.ipv6.conf.host0.disable_ipv6=1"), []string{"fd00:213::2", "disable_ipv6"}, false},
		{"no address", "address", func(_ *testing.T, w *world) {
			w.guest.sh("ip addr flush dev host0")
			a := &w.network.attachments[0]
			a.Addresses, a.Gateways, a.Managed, a.By = nil, nil, false, "networkd"
		}, []string{"host0 has no address", "up to networkd"}, false},
		{"no gateway", "address", host("ip addr del 10.213.0.1/30 dev ve-c1"), []string{"ve-c1 has not the address 10.213.0.1"}, true},
		{"no IPv6 gateway", "address", host("ip addr del fd00:213::1/64 dev ve-c1"), []string{"ve-c1 has not the address fd00:213::1"}, true},
		{"no default route", "route", guest("ip route del default"), []string{"no default route of IPv4", "via 10.213.0.1 dev host0"}, false},
		{"no IPv6 default route", "route", guest("ip -6 route del default"), []string{"no default route of IPv6", "via fd00:213::1"}, false},
		{"another way back", "return", host("ip route add 10.213.0.2/32 dev eth0; sysctl -qw net.ipv4.conf.ve-c1.rp_filter=1"),
			[]string{"packets for 10.213.0.2", "go to eth0", "rp_filter"}, false},
		{"no way back", "return", host("ip -6 route del fd00:213::/64 dev ve-c1; ip -6 route del default"), []string{"no route to fd00:213::2"}, false},
		{"no forwarding", "forwarding", host("sysctl -qw net.ipv4.conf.eth0.forwarding=0"), []string{"forwards no IPv4 of eth0", "net/ipv4/conf/eth0/forwarding=1"}, true},
		{"no IPv6 forwarding", "forwarding", host("sysctl -qw net.ipv6.conf.all.forwarding=0"), []string{"forwards no IPv6 of eth0, ve-c1"}, true},
		{"two sizes", "mtu", guest("ip link set host0 mtu 1400"), []string{"ve-c1 may have 1500 bytes", "1400"}, false},
		{"small uplink", "mtu", host("ip link set eth0 mtu 1400"), []string{"by eth0 only 1400"}, false},
		{"no ARP", "neighbour", guest("ip link set host0 arp off"), []string{"nobody on ve-c1 says that 10.213.0.2", "ARP"}, false},
		{"address twice", "neighbour", guest("ip link add dup link host0 type macvlan mode bridge; ip link set dup up; ip addr add 10.213.0.2/32 dev dup"),
			[]string{"10.213.0.2 is also the address of"}, false},
	})
}
