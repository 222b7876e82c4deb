package network

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// inZone starts machines in zone web.
func (l *lab) inZone(names ...string) (all []guestHost) {
	l.Helper()
	l.bridge("vz-web")
	for _, name := range names {
		g := l.boot(name, "vb-"+name, "vz-web")
		l.register(g)
		all = append(all, g)
	}
	return all
}

func inward(protocol machd.Protocol, guest, host uint16) []machd.Port {
	return []machd.Port{{Protocol: protocol, Guest: guest, Host: host}}
}

// isWell fails if the rules are not those that there should be.
func (l *lab) isWell() {
	l.Helper()
	if lacking, err := l.rules.Reconcile(l.want()); err != nil || len(lacking) > 0 {
		l.Errorf("it mends %q, %v", lacking, err)
	}
}

// Machines of a zone have one gateway, so what it leads to is for all of them.
func TestAPortOfAZonesGatewayLeadsToOnePlace(t *testing.T) {
	l := newLab(t)
	l.write(l.paths.Settings[0]+"/c.nspawn", "[X-Machd]\nExposeHost=5432:5434\n")
	machines := l.inZone("a", "b")
	l.must(l.AddPorts(t.Context(), "a", inward(machd.TCP, 5432, 5432), true))
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "Machine a") || !strings.Contains(err.Error(), "OTHER:") {
			t.Errorf("%s: %v, which does not name machine a and a way out", what, err)
		}
	}
	refused("another service", l.AddPorts(t.Context(), "b", inward(machd.TCP, 5432, 5433), true))
	l.must(l.AddPorts(t.Context(), "b", inward(machd.TCP, 5432, 5432), true))
	l.must(l.AddPorts(t.Context(), "b", inward(machd.UDP, 5432, 5433), true))

	request := Request{Machine: "d", Kind: machd.LinkZone, Shared: "web", Options: machd.NetworkOptions{ExposeHost: []string{"5432:5433"}}}
	l.removePorts("b", inward(machd.TCP, 5432, 5432), true) // which a has still
	_, err := l.Plan(request)
	refused("a start", err)
	request.Options.ExposeHost = []string{"6000:5433"}
	plan, err := l.Plan(request)
	l.must(err)
	l.must(l.AddPorts(t.Context(), "a", inward(machd.TCP, 6000, 6000), true))
	refused("a start that was planned before", l.Reserve(plan))
	request.Options.ExposeHost = []string{"7000:1", "7000:2"}
	if _, err := l.Plan(request); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "Machine d") {
		t.Errorf("two services at one port: %v", err)
	}

	c := l.boot("c", "vb-c", "vz-web")
	l.register(c)
	if s := l.status(c); !s.Managed || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "Machine a") || len(l.of("c").Inward) > 0 {
		t.Errorf("a machine whose settings want it has %+v", s)
	}
	l.removePorts("b", inward(machd.UDP, 5432, 5433), true)
	if got := elements(t, "inward_traffic4"); !strings.Contains(got, "tcp . 5432") {
		t.Errorf("what a has is gone: %s", got)
	}
	l.isWell()
	for _, g := range append(machines, c) {
		l.end(g)
	}
}

// Rules that contradict each other, from wherever, are not all of them lost.
func TestOneContradictionDoesNotHarmOthers(t *testing.T) {
	l := newLab(t)
	machines := append(l.inZone("a", "b"), l.start("web"))
	for name, host := range map[string]uint16{"a": 1, "b": 2} {
		n := *l.of(name)
		n.Inward, n.Ports = listOf(inward(machd.TCP, 80, host)), listOf(ports(t, "8080:80"))
		l.must(l.put(&n))
	}
	run(t, "nft", "flush", "ruleset")
	l.mend(true)
	if got := elements(t, "links"); !strings.Contains(got, "vz-web") || !strings.Contains(got, "ve-web") {
		t.Errorf("the links are %s", got)
	}
	if got := elements(t, "inward_traffic4") + elements(t, "traffic4"); strings.Count(got, "tcp . 80") != 2 {
		t.Errorf("the ports are %s", got)
	}
	for _, g := range machines {
		l.end(g)
	}
}

// The gateway's DNS is the machine's, until another one of the host's is exposed
// to it or others of its zone, and again when that is over.
func TestTheGatewaysDNSComesBack(t *testing.T) {
	l := newLab(t)
	machines := append(l.inZone("a", "b"), l.start("web"))
	for _, name := range []string{"web", "a"} {
		gateway := l.of(name).Gateway4.Addr().String()
		is := func(udp string) {
			t.Helper()
			l.isWell()
			got := elements(t, "inward4")
			for protocol, to := range map[string]string{"udp": udp, "tcp": gateway} {
				if !strings.Contains(got, gateway+" . "+protocol+" . 53 : "+to+" . ") {
					t.Errorf("%s: %s does not lead to %s: %s", name, protocol, to, got)
				}
			}
			if strings.Count(got, ". 53 : ") != 4 {
				t.Errorf("%s: not both gateways have DNS: %s", name, got)
			}
		}
		is(gateway)
		for _, host := range []uint16{53, 5353} {
			l.must(l.AddPorts(t.Context(), name, inward(machd.UDP, 53, host), true))
			is("127.0.0.1")
			l.removePorts(name, inward(machd.UDP, 53, host), true)
			is(gateway)
		}
	}
	l.must(l.AddPorts(t.Context(), "a", inward(machd.UDP, 53, 53), true))
	l.end(machines[0])
	if got := elements(t, "inward4"); strings.Contains(got, "127.0.0.1") || strings.Count(got, ". 53 : ") != 4 {
		t.Errorf("what is left when the machine has ended is %s", got)
	}
	l.isWell()
	l.end(machines[1])
	l.end(machines[2])
}
