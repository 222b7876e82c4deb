package network

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// A machine that runs may do with its end of the link what it likes: it keeps
// its guard, its ports and its switches, whoever looks after it next.
func TestAMachineThatCannotBeConfiguredAgainKeepsItsGuard(t *testing.T) {
	for name, spoil := range map[string]string{
		"another name":           "ip link set host0 down && ip link set host0 name x && ip link set x up",
		"another route":          "ip route replace default via 10.213.0.1 dev host0 onlink",
		"a router that was told": "ip -6 route flush default; ip -6 route add default via fe80::1 dev host0 metric 1024",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			before := traces(t, l)
			g, other := l.start("web"), l.start("other")
			l.listen(g, 80)
			l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
			isSame := rules(t)
			l.inside(g, "sh", "-c", spoil)
			l.restart()
			if _, err := l.Mend(t.Context()); err != nil {
				t.Error(err)
			}
			s := l.status(g)
			if !s.Managed || (len(s.Problems) > 0) != (name == "another name") {
				t.Errorf("its network is %+v", s)
			}
			if got := rules(t); got != isSame {
				t.Errorf("the rules are\n%s\nand were\n%s", got, isSame)
			}
			if got := l.routeLocalnet("ve-web"); got != "1" {
				t.Errorf("route_localnet is %s", got)
			}
			if told, err := l.Ports(t.Context(), "web"); err != nil || len(told) != 1 {
				t.Errorf("there are the ports %+v, %v", told, err)
			}
			l.end(g)
			l.end(other)
			if after := traces(t, l); after != before {
				t.Errorf("they have left\n%s\nof before\n%s", after, before)
			}
		})
	}
}

// rules are those there are, but for what was counted.
func rules(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("nft", "--stateless", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// routeLocalnet tells whether packets to 127.0.0.0/8 may come by a link.
func (l *lab) routeLocalnet(link string) string {
	l.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/route_localnet")
	l.must(err)
	return strings.TrimSpace(string(text))
}

// elements are those of a set of our table.
func elements(t testing.TB, set string) string {
	t.Helper()
	out, err := exec.Command("nft", "--stateless", "list", setOrMap(set), "inet", "machd", set).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A link that is no longer ours is closed, not only left without its guard.
func TestALinkThatIsGivenUpIsClosed(t *testing.T) {
	for name, giveUp := range map[string]func(l *lab, g guestHost){
		"a record is lost": func(l *lab, g guestHost) {
			l.must(l.records.remove(g.Name))
			l.restart()
		},
		"it is moved to a bridge": func(l *lab, g guestHost) {
			run(l, "ip", "link", "set", g.link.Attrs().Name, "master", "br0")
			_, err := l.Mend(l.Context())
			l.must(err)
		},
		"its machine is unregistered": func(l *lab, g guestHost) {
			l.mu.Lock()
			delete(l.machines, g.Name)
			l.mu.Unlock()
			l.Detach(g.Machine)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.bridge("br0")
			g, other := l.start("web"), l.start("other")
			at := l.of("web").place()
			giveUp(l, g)
			if n := l.of("web"); n != nil && n.ours() {
				t.Errorf("its network is %+v", n)
			}
			if got := l.routeLocalnet("ve-web"); got != "0" {
				t.Errorf("route_localnet is %s", got)
			}
			if got := elements(t, "links"); strings.Contains(got, "ve-web") || !strings.Contains(got, "ve-other") {
				t.Errorf("the links are %s", got)
			}
			if l.links[at] != nil {
				t.Error("it is answered still")
			}
			l.end(other)
		})
	}
}

// bridge makes one for the test.
func (l *lab) bridge(name string) {
	l.Helper()
	run(l, "ip", "link", "add", name, "type", "bridge")
	l.Cleanup(func() { run(l, "ip", "link", "delete", name) })
}

func TestWhatCannotBeSwitchedOffStaysGuarded(t *testing.T) {
	l := newLab(t)
	g, other := l.start("web"), l.start("other")
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
	l.must(os.Remove(l.switches()))
	l.must(os.MkdirAll(l.switches()+"/full", 0o755)) // so nothing can be written down
	l.mu.Lock()
	delete(l.machines, g.Name)
	l.mu.Unlock()
	l.Detach(g.Machine)
	isGuarded := func() {
		t.Helper()
		if got := elements(t, "links"); !strings.Contains(got, "ve-web") {
			t.Errorf("the links are %s", got)
		}
	}
	isGuarded()
	l.mend(false)
	isGuarded()
	if got := elements(t, "traffic4") + elements(t, "sources4"); strings.Contains(got, "8080") || strings.Contains(got, "ve-web") {
		t.Errorf("left of it is %s", got)
	}
	l.must(os.RemoveAll(l.switches()))
	l.mend(false)
	if got := elements(t, "links"); strings.Contains(got, "ve-web") || l.routeLocalnet("ve-web") != "0" {
		t.Errorf("the links are %s", got)
	}
	l.end(other)
}

// What answered on a link that has gone is no reason to take the next one of its
// name for one that has all.
func TestALinkOfTheSameNameIsAnother(t *testing.T) {
	l := newLab(t)
	g := l.start("web")
	n := *l.of("web")
	n.By = "" // as after a failure
	l.must(l.put(&n))
	old := l.links[n.place()]
	l.end(g)
	if len(l.links) > 0 {
		t.Errorf("still there: %v", l.links)
	}
	old.guests["web"] = guest{}
	l.links[n.place()] = old
	g = l.start("web")
	if got := elements(t, "links") + elements(t, "sources4"); strings.Count(got, "ve-web") != 2 {
		t.Errorf("it has the guard %s", got)
	}
	if s := l.links[l.of("web").place()]; s == nil || s.responder == nil || s.responder == old.responder {
		t.Error("nobody answers on its link")
	}
	l.end(g)
}

// startInABridge begins a machine with a port in a bridge of somebody's.
func (l *lab) startInABridge() guestHost {
	l.Helper()
	l.bridge("br0")
	l.write(l.paths.Settings[0]+"/b.nspawn", "[X-Machd]\nAddress=10.50.0.2/24\nPublish=8080:80\n")
	b := l.boot("b", "vb-b", "br0")
	l.register(b)
	return b
}

// A bridge of somebody's has no switches of ours. What was switched on for the last
// other link goes back, also if that ended while there was no daemon.
func TestOnlyLinksOfOursKeepSwitches(t *testing.T) {
	l := newLab(t)
	b := l.startInABridge()
	web := l.start("web")
	if len(l.forward.Changed()) == 0 {
		t.Fatal("nothing was switched on")
	}
	l.stop()
	delete(l.machines, "web")
	l.must(netlink.LinkDel(web.link))
	l.restart()
	if left := l.forward.Changed(); len(left) > 0 {
		t.Errorf("these are still as web wanted them: %v", left)
	}
	if got := elements(t, "traffic4"); !strings.Contains(got, "8080") {
		t.Errorf("the port of the machine in the bridge has gone: %s", got)
	}
	l.end(b)
}

// The rules of a machine in somebody's bridge are as good as those of others.
func TestAMachineInABridgeKeepsItsPorts(t *testing.T) {
	l := newLab(t)
	b := l.startInABridge()
	l.end(l.start("web"))
	if got := elements(t, "traffic4"); !strings.Contains(got, "8080") {
		t.Errorf("with the last machine at a link of ours its ports go: %s", got)
	}
	run(t, "nft", "flush", "ruleset")
	l.mend(true)
	if got := elements(t, "traffic4"); !strings.Contains(got, "8080") {
		t.Errorf("they do not come back: %s", got)
	}
	l.end(b)
	if got := rules(t); got != "" {
		t.Errorf("it has left %s", got)
	}
}

// The guard of a zone is there for all of it, whatever is left of the first.
func TestEveryMachineOfAZoneSeesToItsGuard(t *testing.T) {
	l := newLab(t)
	l.bridge("vz-web")
	a, b := l.boot("a", "vb-a", "vz-web"), l.boot("b", "vb-b", "vz-web")
	l.register(a)
	run(t, "nft", "flush", "ruleset")
	l.rules = nil // nor does it know of any
	l.register(b)
	if got := elements(t, "links") + elements(t, "networks4"); strings.Count(got, "vz-web") != 2 {
		t.Errorf("it has the guard %s", got)
	}
	l.end(a)
	if got := elements(t, "links") + elements(t, "networks4"); strings.Count(got, "vz-web") != 2 {
		t.Errorf("with one machine that stays it has the guard %s", got)
	}
	l.end(b)
}

func setOrMap(name string) string {
	if strings.HasPrefix(name, "inward") && !strings.Contains(name, "traffic") {
		return "map"
	}
	return "set"
}

// Machines of a zone may have been given addresses of one family each, as IPv6
// comes and goes on the host.
func TestTheGuardOfAZoneStaysForMachinesWithOtherAddresses(t *testing.T) {
	l := newLab(t)
	machines := l.inZone("a", "b")
	n := *l.of("b")
	n.Guest6, n.Gateway6 = netip.Prefix{}, netip.Prefix{}
	l.must(l.put(&n))
	l.mend(false)
	l.end(machines[0])
	if got := elements(t, "links") + elements(t, "networks4"); strings.Count(got, "vz-web") != 2 {
		t.Errorf("it has the guard %s", got)
	}
	if got := elements(t, "networks6"); strings.Contains(got, "vz-web") {
		t.Errorf("left is %s", got)
	}
	l.isWell()
	l.end(machines[1])
}
