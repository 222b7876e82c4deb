package booted

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/test/lan"
)

// A daemon that restarts, is replaced, or is killed, is noticed by nobody's
// connection, and what it was to remove meanwhile goes.
func TestMachdNetworkOutlivesTheDaemon(t *testing.T) {
	n := joinedNetwork(t)
	w := watch(t)
	d := startDweller(t, "outlives", "-n", "-p", "8200:80")
	zoned := startDweller(t, "outlives-zoned", "--zone=lasting", "-p", "8201:80")
	server := d.serve(t, 80)
	zoned.serve(t, 80)
	serveAt(t, n.Internet, "internet", 4050)
	var conns []net.Conn
	for _, c := range []struct {
		from    lan.Place
		address string
	}{{n.Outside, at(lan.Host4, 8200)}, {here, "[::1]:8200"}, {here, "127.0.0.1:8201"}, {d.Place, at(lan.Internet4, 4050)}, {zoned.Place, at(lan.Internet6, 4050)}} {
		conn, err := c.from.Dial("tcp", c.address)
		must(t, err)
		defer conn.Close()
		_, err = lan.Hear(conn)
		must(t, err)
		conns = append(conns, conn)
	}
	rules := run(t, "nft", "--stateless", "list", "table", "inet", "machd")
	for how, restart := range map[string]func(){
		"restarted": func() { run(t, "systemctl", "restart", theService) },
		"killed":    func() { w.kill(t) },
		"stopped for a while": func() {
			run(t, "systemctl", "stop", "machd.socket", "machd.service")
			wantAnswer(t, n.Outside, "tcp", at(lan.Host6, 8200), d.name, addr(lan.Outside6))
			run(t, "systemctl", "start", "machd.socket", "machd.service")
		},
	} {
		t.Run(how, func(t *testing.T) {
			restart()
			eventually(t, "machd is back", func() error { _, err := w.lookUp(t, d.name); return err })
			for i, conn := range conns {
				if err := lan.Echoes(conn); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
			for _, address := range []string{"127.0.0.1:8200", "[::1]:8200", "[::1]:8201"} {
				wantAnswer(t, here, "tcp", address, map[bool]string{true: d.name, false: zoned.name}[strings.HasSuffix(address, "0")], nobody)
			}
			wantUnchanged(t, "rules", rules, run(t, "nft", "--stateless", "list", "table", "inet", "machd"))
			if again := findDweller(t, d.name); again.v4 != d.v4 || again.gate6 != d.gate6 {
				t.Errorf("it has %v by %v", again.v4, again.gate6)
			}
			// The relay for names is another one.
			eventually(t, "its gateway answers", func() error {
				conn, err := d.Dial("tcp", at(d.gate4, 53))
				if err == nil {
					conn.Close()
				}
				return err
			})
		})
	}
	// One that ends while nobody looks leaves nothing either.
	server.Close()
	for _, conn := range conns {
		conn.Close()
	}
	run(t, "systemctl", "stop", "machd.socket", "machd.service")
	killUnit(t, d.name, "all")
	eventually(t, "its unit is gone", func() error {
		if state := observe(t, "systemctl", "is-active", transientOf(d.name)).Stdout; !strings.HasPrefix(state, "failed") && !strings.HasPrefix(state, "inactive") {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	run(t, "systemctl", "start", "machd.socket", "machd.service")
	wantNoRemains(t, d)
	wantRefusal(t, here, "127.0.0.1:8200")
	wantAnswer(t, here, "tcp", "127.0.0.1:8201", zoned.name, nobody)
}

// What others do to our table is mended, and said; what they do to theirs is
// none of our business.
func TestMachdNetworkMendsItsRules(t *testing.T) {
	n := joinedNetwork(t)
	d := startDweller(t, "mended", "-n", "-p", "8210:80")
	d.serve(t, 80)
	conn, err := n.Outside.Dial("tcp", at(lan.Host4, 8210))
	must(t, err)
	defer conn.Close()
	_, err = lan.Hear(conn)
	must(t, err)
	rules := run(t, "nft", "--stateless", "list", "table", "inet", "machd")
	for _, damage := range []string{
		"flush ruleset", "delete table inet machd", "flush table inet machd",
		"flush ruleset\nadd table inet filter\nadd chain inet filter input { type filter hook input priority 0; policy accept; }\n",
	} {
		t.Run(damage, func(t *testing.T) {
			since := time.Now().Format("15:04:05")
			run(t, "nft", damage)
			eventually(t, "the rules are back", func() error {
				if now := observe(t, "nft", "--stateless", "list", "table", "inet", "machd").Stdout; strings.TrimSpace(now) != rules {
					return fmt.Errorf("there is\n%s, not\n%s", now, rules)
				}
				return nil
			})
			wantAnswer(t, n.Outside, "tcp", at(lan.Host4, 8210), d.name, addr(lan.Outside4))
			wantAnswer(t, here, "tcp", "[::1]:8210", d.name, d.gate6)
			if err := lan.Echoes(conn); err != nil {
				t.Errorf("an old connection: %v", err)
			}
			eventually(t, "it is said", func() error {
				if log := run(t, "journalctl", "-u", theService, "-u", "machd.service", "--since="+since, "-o", "cat"); !strings.Contains(log, "nft") && !strings.Contains(log, "rules") && !strings.Contains(log, "table") {
					return fmt.Errorf("the log is\n%s", log)
				}
				return nil
			})
		})
	}
	observe(t, "nft", "delete", "table", "inet", "filter")
}

// A host whose links to others change goes on leading machines there.
func TestMachdNetworkFollowsTheUplink(t *testing.T) {
	n := joinedNetwork(t)
	d := startDweller(t, "follows", "-n")
	serveAt(t, n.Internet, "internet", 4060)
	wantAnswer(t, d.Place, "tcp", at(lan.Internet4, 4060), "internet", addr(lan.HostWide4))
	// Another link to the Internet, with other numbers.
	for _, words := range []string{
		"link add later0 type veth peer name eth1 netns internet",
		"-n internet address add 198.51.100.2/24 dev eth1", "-n internet address add 2001:db8:2::2/64 dev eth1 nodad",
		"-n internet link set eth1 up", "address add 198.51.100.1/24 dev later0", "address add 2001:db8:2::1/64 dev later0 nodad",
		"link set later0 up", "route replace default via 198.51.100.2", "-6 route replace default via 2001:db8:2::2",
	} {
		run(t, append([]string{"ip"}, strings.Fields(words)...)...)
	}
	t.Cleanup(func() {
		run(t, "ip", "link", "delete", "later0")
		run(t, "ip", "route", "replace", "default", "via", lan.Internet4)
		run(t, "ip", "-6", "route", "replace", "default", "via", lan.Internet6)
	})
	for _, c := range []struct{ to, seen string }{{"198.51.100.2", "198.51.100.1"}, {"2001:db8:2::2", "2001:db8:2::1"}} {
		eventually(t, "it gets there by the new link", func() error {
			got, err := d.Ask("tcp", at(c.to, 4060))
			if err != nil || got.Client != addr(c.seen) {
				return fmt.Errorf("%v, %v", got, err)
			}
			return nil
		})
	}
}

// Many at once all have their own address, and all of it goes.
func TestMachdNetworkForACrowd(t *testing.T) {
	const crowd = 30
	joinedNetwork(t)
	switches := knobsAtRest(t)
	var argv []string
	for i := range crowd {
		name := fmt.Sprintf("crowd-%d", i)
		t.Cleanup(func() { endDweller(t, name) })
		argv = append(argv, name)
	}
	start := append([]string{"machctl", "start", "--image=tiny", "--overlay", "--no-boot", "-n"}, argv...)
	run(t, append(start, "--", "sleep", "infinity")...)
	taken := map[string]string{}
	var all []dweller
	for _, name := range argv {
		d := findDweller(t, name)
		d.wantNetwork(t)
		for _, address := range []string{d.v4.String(), d.v6.String(), d.gate4.String(), d.gate6.String()} {
			if other := taken[address]; other != "" {
				t.Errorf("%s and %s have %s", name, other, address)
			}
			taken[address] = name
		}
		all = append(all, d)
	}
	server := all[0].serve(t, 80)
	wantAnswer(t, here, "tcp", at(all[0].v6, 80), all[0].name, all[0].gate6)
	server.Close()
	run(t, append([]string{"systemctl", "kill", "--signal=KILL"}, unitsOf(argv)...)...)
	for _, d := range all[:3] {
		wantNoRemains(t, d)
	}
	eventually(t, "all links are gone", func() error {
		if out := run(t, "ip", "-o", "link"); strings.Contains(out, "ve-crowd") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	eventually(t, "the switches are as before", func() error {
		for path, value := range knobs(t) {
			if before, ok := switches[path]; ok && before != value {
				return fmt.Errorf("%s is %q, was %q", path, value, before)
			}
		}
		return nil
	})
}

func unitsOf(names []string) (units []string) {
	for _, name := range names {
		units = append(units, transientOf(name))
	}
	return units
}
