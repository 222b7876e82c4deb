package doctor

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

// Firewalls as they are, as far as packets that are forwarded see them.
const (
	docker = `
		table ip filter {
			chain DOCKER-USER { return; }
			chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }
		}`
	firewalld = `
		table inet firewalld {
			chain filter_FORWARD { type filter hook forward priority 10; policy accept;
				ct state established,related accept
				ct status dnat accept
				iifname "lo" accept
				jump policies
				reject with icmpx admin-prohibited
			}
			chain policies { iifname "eth7" accept; }
		}`
	ufw = `
		table ip6 filter {
			chain ufw6-before-forward { ct state established accept; }
			chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw6-before-forward; }
		}
		table ip filter {
			chain ufw-before-forward { ct state established accept; }
			chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }
		}`
	iptables = `table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }`
	ownRules = `table inet fw { chain forward { type filter hook forward priority 0; iifname "ve-*" ip daddr 198.51.100.1 tcp dport 443 drop comment "no way"; }; }`
)

// load adds rules of somebody else to the host's.
func load(rules string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.host.sh("nft -f - <<'EOF'\n" + rules + "\nEOF") }
}

func TestWayOut(t *testing.T) {
	try(t, "c1", []breakage{
		{"docker", "way-out", load(docker), []string{"does not get out of the host by IPv4", "ip filter FORWARD (policy drop), of docker",
			"iptables -I DOCKER-USER -i ve-c1 -j ACCEPT && iptables -I DOCKER-USER -o ve-c1 -j ACCEPT"}, false},
		{"firewalld", "way-out", load(firewalld), []string{"by IPv4", `inet firewalld filter_FORWARD: reject`, "of firewalld",
			"firewall-cmd --permanent --zone=trusted --add-interface=ve-c1"}, false},
		{"firewalld, IPv6", "way-out", load(firewalld), []string{"by IPv6", "of firewalld"}, false},
		{"ufw", "way-out", load(ufw), []string{"by IPv4", "ip filter FORWARD (policy drop), of ufw", "ufw route allow in on ve-c1 && ufw route allow out on ve-c1"}, false},
		{"ufw, IPv6", "way-out", load(ufw), []string{"by IPv6", "ip6 filter FORWARD (policy drop), of ufw"}, false},
		{"ufw after docker", "way-out", func(t *testing.T, w *world) {
			load(ufw)(t, w)
			w.host.sh("nft add chain ip filter DOCKER-USER")
		}, []string{"by IPv4", "ip filter FORWARD (policy drop), of ufw"}, false},
		{"iptables", "way-out", load(iptables), []string{"of iptables", "iptables -I FORWARD -i ve-c1 -j ACCEPT"}, false},
		{"a rule", "way-out", load(ownRules), []string{"inet fw forward", `iifname "ve-*"`, `daddr 198.51.100.1`, `dport 443 drop comment "no way"`,
			"nft insert rule inet fw forward iifname ve-c1 accept"}, false},
		{"our own rule", "way-out", func(_ *testing.T, w *world) { w.host.sh(`nft add rule inet machd guard ip saddr 10.213.0.2 drop`) },
			[]string{"inet machd guard", "machd's own"}, false},
		{"no masquerade", "way-out", func(_ *testing.T, w *world) { w.host.sh("nft flush chain inet machd post") }, []string{"leave the host with its address 10.213.0.2", "masquerade"}, true},
		{"dropped out of sight", "way-out", func(_ *testing.T, w *world) {
			w.host.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1; ip rule add to 10.213.0.2 lookup 99; ip route add 10.213.0.2 dev eth0 table 99")
			w.network.attachments[0].Kind = "veth"
		}, []string{"rp_filter"}, false},
		{"loopback open", "guard", func(_ *testing.T, w *world) { w.host.sh("nft flush chain inet machd guard") },
			[]string{"reaches programs that listen on the host's 127.0.0.1"}, true},
		{"another address", "sender", otherAddress("", ""),
			[]string{"has the address 10.0.1.2/24, too", "is dropped", "that machd gave", "ip addr add 10.0.1.1/24 dev ve-c1"}, false},
		{"another address, IPv6", "sender", otherAddress("ip addr add fd05::2/64 dev host0 nodad", "nft add rule inet machd guard ip6 saddr fd05::2 drop"),
			[]string{"has the address fd05::2/64, too", "ip addr add fd05::1/64 dev ve-c1"}, false},
		{"an address of others", "sender", otherAddress("", "ip addr add 10.0.1.7/24 dev eth0"), []string{"10.0.1.2/24", "knows that address by eth0"}, false},
		{"another address that answers miss", "sender", otherAddress("", "ip addr add 10.0.1.1/24 dev ve-c1"),
			[]string{"10.0.1.2/24", "send answers elsewhere", "ip route get 10.0.1.2"}, false},
	})
}

// otherAddress gives the machine one that the host drops what comes from.
func otherAddress(inside, host string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.guest.sh("ip addr add 10.0.1.2/24 dev host0\n" + inside)
		w.host.sh("nft add rule inet machd guard ip saddr 10.0.1.2 drop\n" + host)
	}
}

// What a machine sends from another address is nobody's business where it is let in.
func TestSenderThatIsLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if found := w.look(t, "c1", "sender"); len(found) > 0 {
		t.Errorf("of a machine without such addresses it says %+v", found)
	}
	w.guest.sh("ip addr add 10.0.1.2/24 dev host0")
	w.host.sh("ip addr add 10.0.1.1/24 dev ve-c1")
	if found := w.look(t, "c1", "sender"); len(found) != 1 {
		t.Errorf("it says %+v", found)
	} else {
		wantWell(t, found)
	}
}

func TestPorts(t *testing.T) {
	host := func(lines string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.host.sh(lines) }
	}
	try(t, "c1", []breakage{
		{"nobody listens", "port", func(_ *testing.T, w *world) { w.service.Close() }, []string{"nobody in the machine listens on port 80/tcp"}, false},
		{"listens to itself", "port", func(t *testing.T, w *world) { w.service.Close(); w.listen(t, "127.0.0.1:80") },
			[]string{"listens on 127.0.0.1 only"}, false},
		{"not redirected", "port", host("nft flush map inet machd port4"), []string{"does not lead to the machine at 127.0.0.1", "the host itself takes it"}, true},
		{"not redirected, IPv6", "port", host("nft flush map inet machd port6"), []string{"does not lead to the machine at ::1"}, true},
		{"redirected elsewhere", "port", host("nft 'flush map inet machd port4; add element inet machd port4 { tcp . 8080 : 10.213.0.2 . 81 }'"),
			[]string{"leads to 10.213.0.2:81"}, true},
		{"no route_localnet", "port", host("sysctl -qw net.ipv4.conf.ve-c1.route_localnet=0"), []string{"at 127.0.0.1", "route_localnet"}, true},
		{"no way back to ::1", "port", host("ip -6 route del local ::1 dev ve-c1 table local"), []string{"does not answer at ::1", "ip -6 route append local ::1 dev ve-c1"}, true},
		{"loopback not masqueraded", "port", host(`nft 'flush chain inet machd post; add rule inet machd post oifname "eth0" masquerade'`),
			[]string{"127.0.0.1", "masquerade"}, false},
		{"closed to others", "port", load(`table inet fw { chain forward { type filter hook forward priority 0; iifname "eth0" oifname "ve-c1" drop; }; }`),
			[]string{"does not lead to the machine at 192.168.7.1, from others on eth0", `iifname "eth0" oifname "ve-c1" drop`}, false},
		{"closed to others, IPv6", "port", load(`table inet fw { chain forward { type filter hook forward priority 0; iifname "eth0" meta nfproto ipv6 drop; }; }`),
			[]string{"at 2001:db8:7::1, from others on eth0"}, false},
		{"closed in the machine", "port", func(_ *testing.T, w *world) {
			w.guest.sh(`nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; }; add rule inet fw in tcp dport 80 drop'`)
		}, []string{"does not answer at 127.0.0.1", "firewall of its own"}, false},
		{"shadowed", "port", func(t *testing.T, w *world) {
			var l net.Listener
			if err := w.host.space().in(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:8080"); return err }); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, []string{"a program on 127.0.0.1:8080 listens there, too"}, false},
		{"at an address of nobody", "port", func(_ *testing.T, w *world) {
			nobodys := machd.Port{Protocol: machd.TCP, Address: netip.MustParseAddr("192.0.2.9"), Host: 8080, Guest: 80}
			w.network.attachments[0].Ports = append(w.network.attachments[0].Ports, nobodys)
		}, []string{"port 192.0.2.9:8080:80/tcp is published at an address that no link of the host has", "machctl port remove c1 192.0.2.9:8080:80/tcp"}, false},
		{"UDP not redirected", "port", func(t *testing.T, w *world) {
			w.network.attachments[0].Ports = []machd.Port{{Protocol: machd.UDP, Host: 5353, Guest: 53}}
			w.network.mend = func() error {
				w.host.sh("nft 'add element inet machd port4 { udp . 5353 : 10.213.0.2 . 53 }; add element inet machd port6 { udp . 5353 : fd00:213::2 . 53 }'")
				return nil
			}
			var l net.PacketConn
			if err := w.guest.space().in(func() (err error) { l, err = net.ListenPacket("udp", ":53"); return err }); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, []string{"port 5353:53/udp does not lead to the machine"}, true},
	})
}

// What a port in a bridge of somebody's is not meant to do is no trouble, and what
// fix cannot do it owns up to.
func TestPortInABridgeOfSomebodys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.sh(`
		ip link add br7 type bridge; ip link set br7 up; ip link set ve-c1 master br7; ip addr flush dev ve-c1
		ip addr add 10.213.0.1/30 dev br7; ip addr add fd00:213::1/64 dev br7 nodad
		nft delete element inet machd links { ve-c1 }
		sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv4.conf.all.forwarding=0; ip -6 route replace default via 2001:db8:7::fe`)
	a := &w.network.attachments[0]
	a.Kind, a.Link, a.Port = "bridge", "br7", "ve-c1"
	wantWell(t, w.look(t, "c1", "port"))
	local := machd.Port{Protocol: machd.TCP, Address: netip.MustParseAddr("127.0.0.1"), Host: 8081, Guest: 80}
	a.Ports = append(a.Ports, local)
	wantFinding(t, w.look(t, "c1", "port"), "port 127.0.0.1:8081:80/tcp is published at an address that leads into no bridge", "machctl port remove c1 127.0.0.1:8081:80/tcp")
	a.Ports = a.Ports[:1]
	w.host.sh("nft flush map inet machd port4")
	says := []string{"does not lead to the machine at the host's own address 10.213.0.1", "the host itself takes it"}
	if f := wantFinding(t, w.look(t, "c1", "port"), says...); !f.Safe {
		t.Errorf("before it is tried it says %+v", f)
	}
	w.network.mend = func() error { return nil }
	found, err := w.doctor.Diagnose(t.Context(), "c1", machd.DiagnoseOptions{Fix: true})
	if err != nil {
		t.Fatal(err)
	}
	if f := wantFinding(t, found, append(says, "It could not be mended.")...); f.Safe || f.Fixed || strings.Count(f.Why, "mended") != 1 {
		t.Errorf("after it was tried it says %+v", f)
	}
	w.host.sh("ip link set br7 down")
	if f := wantFinding(t, w.look(t, "c1", "link"), "br7 is down", "ip link set br7 up"); f.Safe {
		t.Errorf("of a bridge of somebody's it says %+v", f)
	}
}

func TestFarIsNotNear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.sh("ip addr add 198.51.100.1/24 dev eth0; ip route add 2001:db8:ffff::/64 via 2001:db8:7::fe")
	l, err := readLinks(w.doctor.cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	for is4, want := range map[bool]string{true: "192.0.2.1:443", false: "[3fff::1]:443"} {
		if to, ok := l.far(is4); !ok || to.String() != want {
			t.Errorf("far is %v, %t, want %s", to, ok, want)
		}
	}
	wantWell(t, w.look(t, "c1", "way-out"))
}

// By a link without anything at its other end nobody comes in.
func TestPortBesideAnIdleBridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.host.sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; " +
		"ip link add p type veth peer name q; ip link set p master docker0; ip link del p\n" +
		"until ip link show docker0 | grep -q 'NO-CARRIER.*state DOWN'; do sleep 0.05; done")
	wantWell(t, w.look(t, "c1", "port"))
	w.host.sh("nft flush map inet machd port4")
	wantFinding(t, w.look(t, "c1", "port"), "at the host's own address 172.17.0.1")
}
