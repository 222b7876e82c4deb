package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
	"github.com/machd/machd/test/netlab"
)

func TestAPortLeadsToTheMachineForAsLongAsItIsPublished(t *testing.T) {
	l := newLab(t)
	g := l.start("web")
	l.listen(g, 80)
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
	for _, address := range []string{"127.0.0.1:8080", "[::1]:8080", "192.0.2.1:8080"} {
		_, c, err := dial(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		c.Close()
	}
	netlab.In(t, l.outside, func() error {
		seen, c, err := dial("192.0.2.1:8080")
		if err == nil {
			c.Close()
		}
		if want := netip.MustParseAddr("192.0.2.2"); err == nil && seen != want {
			err = fmt.Errorf("the machine sees %s, not %s", seen, want)
		}
		return err
	})
	if want := []string{"web"}; !slices.Equal(l.changed, want) {
		t.Errorf("the changes told of are %q, want %q", l.changed, want)
	}
	told, err := l.Ports(t.Context(), "web")
	if err != nil || len(told) != 1 || !told[0].Answers || told[0].Packets < 8 || told[0].Bytes == 0 {
		t.Errorf("it is told as %+v, %v", told, err)
	}

	_, c, err := dial("127.0.0.1:8080")
	l.must(err)
	defer c.Close()
	l.removePorts("web", ports(t, "8080:80"), false)
	fmt.Fprintln(c, "still there?")
	c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlasts its port")
	}
	if _, _, err := dial("127.0.0.1:8080"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the port is there still: %v", err)
	}
	if told, err := l.Ports(t.Context(), ""); err != nil || len(told) > 0 {
		t.Errorf("it is told as %+v, %v", told, err)
	}
	l.end(g)
}

func TestAPortThatIsTakenIsRefused(t *testing.T) {
	l := newLab(t)
	a, b := l.start("a"), l.start("b")
	l.must(l.AddPorts(t.Context(), "a", ports(t, "8080:80"), false))
	for _, text := range []string{"8080:81", "7000-7002 8080:81"} {
		err := l.AddPorts(t.Context(), "b", ports(t, strings.Fields(text)...), false)
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "machine a") {
			t.Errorf("%s: %v, which does not name machine a", text, err)
		}
		if told, _ := l.Ports(t.Context(), "b"); len(told) > 0 {
			t.Errorf("%s: half of it was done: %+v", text, told)
		}
	}
	l.must(l.AddPorts(t.Context(), "b", ports(t, "127.0.0.1:8080:80", "8080:80/udp"), false))
	if err := l.AddPorts(t.Context(), "nobody", ports(t, "1"), false); !errors.Is(err, machine1.ErrNoPrivateNetworking) {
		t.Errorf("a port of nobody: %v", err)
	}
	if _, err := l.RemovePorts(t.Context(), "b", ports(t, "9999"), false); !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("a port that is not there is removed: %v", err)
	}
	l.end(a)
	l.must(l.AddPorts(t.Context(), "b", ports(t, "8080:80"), false))
	l.end(b)
}

// The first number tells which port is meant, with its address and its protocol.
func TestAPortIsRemovedByItsFirstNumber(t *testing.T) {
	l := newLab(t)
	a := l.start("a")
	l.must(l.AddPorts(t.Context(), "a", ports(t, "8080:80", "8080:90/udp", "127.0.0.1:8081:81", "9000-9002:1000-1002", "22"), false))
	l.must(l.AddPorts(t.Context(), "a", inward(machd.TCP, 5432, 5433), true))
	remove := func(inward bool, texts ...string) (string, error) {
		t.Helper()
		these, err := machd.ParseRemovedPorts(texts, inward)
		l.must(err)
		removed, err := l.RemovePorts(t.Context(), "a", these, inward)
		return fmt.Sprint(removed), err
	}
	for text, want := range map[string]string{
		"8081":      "Machine a has no published port 8081/tcp, but 127.0.0.1:8081:81/tcp",
		"8080:8080": "Machine a has no published port 8080/tcp, but 8080:80/tcp, 8080:90/udp",
		"9999":      "Machine a has no published port 9999/tcp",
		"9002-9003": "Machine a has no published port 9003/tcp",
	} {
		if removed, err := remove(false, text); !errors.Is(err, machine1.ErrInvalidArgs) || err.Error() != want {
			t.Errorf("%s: removed %s, %v, want %s", text, removed, err, want)
		}
	}
	if removed, err := remove(true, "5433"); !errors.Is(err, machine1.ErrInvalidArgs) || err.Error() != "Machine a has no exposed port 5433/tcp" {
		t.Errorf("removed %s, %v", removed, err)
	}
	if told, _ := l.Ports(t.Context(), "a"); len(told) != 8 {
		t.Errorf("half of something was done: %+v", told)
	}
	for _, c := range []struct{ texts, want string }{
		{"8080 8080:80", "[8080:80/tcp]"}, {"8080/udp", "[8080:90/udp]"}, {"127.0.0.1:8081", "[127.0.0.1:8081:81/tcp]"},
		{"9001-9002", "[9001:1001/tcp 9002:1002/tcp]"}, {"22 9000", "[22/tcp 9000:1000/tcp]"},
	} {
		if removed, err := remove(false, strings.Fields(c.texts)...); err != nil || removed != c.want {
			t.Errorf("%s: removed %s, %v, want %s", c.texts, removed, err, c.want)
		}
	}
	removed, err := remove(true, "5432")
	if told, _ := l.Ports(t.Context(), "a"); err != nil || removed != "[5433:5432/tcp]" || len(told) > 0 {
		t.Errorf("removed %s, %v, and there is %+v", removed, err, told)
	}
	l.end(a)
}

func TestWhatAStartReservesIsTheMachines(t *testing.T) {
	l := newLab(t)
	request := Request{
		Machine: "book", Unit: "machine-book.service", Kind: machd.LinkVeth, Options: machd.NetworkOptions{
			Addresses: []string{"10.0.1.2/24"}, Gateways: []string{"10.0.1.1"}, MAC: "02:00:00:00:00:07", Publish: []string{"8080:80"},
		},
	}
	plan, err := l.Plan(request)
	l.must(err)
	if told, _ := l.Ports(t.Context(), ""); len(plan.Changes) < 4 || len(told) > 0 {
		t.Errorf("the plan is %+v, and %+v is published", plan.Changes, told)
	}
	l.must(l.Reserve(plan))
	other := request
	other.Machine = "other"
	for what, change := range map[string]func(*machd.NetworkOptions){
		"Network 10.0.1.0/24":    func(o *machd.NetworkOptions) { o.Publish = nil },
		"Port 8080:80/tcp":       func(o *machd.NetworkOptions) { o.Addresses, o.Gateways = nil, nil },
		"192.0.2.0/24 on up0":    func(o *machd.NetworkOptions) { o.Addresses, o.Gateways, o.Publish = []string{"192.0.2.9/24"}, nil, nil },
		"in the network of none": func(o *machd.NetworkOptions) { o.Gateways = []string{"10.0.2.1"} },
	} {
		refused := other
		change(&refused.Options)
		if _, err := l.Plan(refused); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, which does not say %q", err, what)
		}
	}

	l.restart() // a daemon that comes in between
	l.active["machine-book.service"] = true
	l.restart()
	if l.of("book") != nil {
		t.Error("what nobody will come for is kept")
	}
	plan, err = l.Plan(request)
	l.must(err)
	l.must(l.Reserve(plan))
	l.restart()
	g := l.start("book")
	s := l.status(g)
	if s.Addresses[0] != "10.0.1.2/24" || s.Gateways[0] != "10.0.1.1" || s.MAC != "02:00:00:00:00:07" {
		t.Errorf("it has %+v", s)
	}
	l.listen(g, 80)
	if _, c, err := dial("127.0.0.1:8080"); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}

	// The machine boots again in its unit, and then the unit goes.
	l.end(g)
	g = l.start("book")
	if got := l.status(g); got.Addresses[0] != s.Addresses[0] {
		t.Errorf("it comes back as %+v", got)
	}
	l.end(g)
	unwanted := request
	unwanted.Options = machd.NetworkOptions{}
	unwanted.Settings = nspawnfile.Parse("[X-Machd]\nNetwork=no\n")
	plan, err = l.Plan(unwanted)
	l.must(err)
	l.must(l.Reserve(plan))
	if l.of("book") != nil {
		t.Error("it is kept for a start that wants no network")
	}

	plan, err = l.Plan(request)
	l.must(err)
	l.must(l.Reserve(plan))
	g = l.start("book")
	l.active["machine-book.service"] = false
	l.end(g)
	if l.of("book") != nil {
		t.Error("it is kept for a unit that has gone")
	}
}

// A machine that has no network takes no port from others, neither by what it
// wants nor when it is given one after all.
func TestAMachineThatFailsTakesNoPort(t *testing.T) {
	l := newLab(t)
	a := l.start("a")
	l.must(l.AddPorts(t.Context(), "a", ports(t, "8080:80"), false))
	taken := func() {
		t.Helper()
		if err := l.AddPorts(t.Context(), "a", ports(t, "8080:81"), false); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a has its port no more: %v", err)
		}
	}
	l.write(l.paths.Settings[0]+"/b.nspawn", "[X-Machd]\nAddress="+l.status(a).Addresses[0]+"\nPublish=8080:80\n")
	b := l.start("b")
	if s := l.status(b); s.Managed || len(s.Problems) == 0 {
		t.Fatalf("its network is %+v", s)
	}
	taken()
	n := *l.of("b")
	n.set(netip.MustParsePrefix("10.50.0.2/30"), netip.MustParseAddr("10.50.0.1"))
	l.must(l.put(&n))
	_, err := l.Mend(t.Context())
	l.must(err)
	if s := l.status(b); !s.Managed || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "machine a") {
		t.Errorf("its network is %+v", s)
	}
	l.end(b)
	taken()
	l.isWell()
	l.end(a)
}

// Nor does it later, whichever is remembered first.
func TestAMachineThatFailedIsInNobodysWay(t *testing.T) {
	l := newLab(t)
	web, published := l.start("web"), ports(t, "8080:80")
	l.write(l.paths.Settings[0]+"/app.nspawn", "[X-Machd]\nAddress="+l.status(web).Addresses[0]+"\nPublish=8080:80\n")
	app := l.start("app")
	if s := l.status(app); s.Managed || len(s.Problems) == 0 {
		t.Fatalf("its network is %+v", s)
	}
	for range 2 {
		l.must(l.AddPorts(t.Context(), "web", published, false))
		l.restart()
		l.isWell()
		l.removePorts("web", published, false)
	}
	l.end(app)
	l.end(web)
}

// What is asked for twice is there once, so that a port that runs can be saved.
func TestAPortThatIsThereAlreadyStays(t *testing.T) {
	l := newLab(t)
	a := l.start("a")
	l.must(l.AddPorts(t.Context(), "a", ports(t, "8080:80"), false))
	l.must(l.AddPorts(t.Context(), "a", ports(t, "8080:80", "9090:90"), false))
	inward := machd.Port{Protocol: machd.TCP, Host: 5432, Guest: 80}
	l.must(l.AddPorts(t.Context(), "a", []machd.Port{inward}, true))
	l.must(l.AddPorts(t.Context(), "a", []machd.Port{inward}, true))
	inward.Host = 5433
	if err := l.AddPorts(t.Context(), "a", []machd.Port{inward}, true); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "5432") {
		t.Errorf("another service at the same port of the gateway: %v", err)
	}
	if told, err := l.Ports(t.Context(), "a"); err != nil || len(told) != 3 {
		t.Errorf("there are %+v, %v", told, err)
	}
	l.end(a)
}

// A machine that publishes DNS for all addresses of the host takes none of the
// gateways', which others ask.
func TestGatewaysAnswerDNSWhateverIsPublished(t *testing.T) {
	l := newLab(t)
	a, b := l.start("a"), l.start("b")
	l.listen(a, 53)
	l.must(l.AddPorts(t.Context(), "a", ports(t, "53"), false))
	if _, c, err := dial("192.0.2.1:53"); err != nil {
		t.Errorf("the port does not lead to the machine: %v", err)
	} else {
		c.Close()
	}
	netlab.In(t, b.ns, func() error {
		seen, c, err := dial(net.JoinHostPort(l.status(b).Gateways[0], "53"))
		if err == nil {
			c.Close()
			t.Errorf("the gateway leads to the machine, which sees %s", seen)
		}
		return nil
	})
	l.end(a)
	l.end(b)
}
