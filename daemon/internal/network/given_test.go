package network

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/test/netlab"
)

// follow is what the daemon does when addresses of the host change.
func (l *lab) follow() {
	l.Helper()
	l.order.Lock()
	defer l.order.Unlock()
	l.must(l.followGiven())
}

// What an administrator sets up on the host's end of a link beside ours works, for
// as long as it is there, and by his word alone.
func TestNetworksOfTheAdministratorAreLetIn(t *testing.T) {
	l := newLab(t)
	before := traces(t, l)
	g, other := l.start("web"), l.start("other")
	l.listen(g, 80)
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
	isAsIs := rules(t)
	l.inside(g, "sh", "-c", "ip addr add 10.0.1.2/24 dev host0; ip addr add fd05::2/64 dev host0 nodad; ip addr add 10.0.2.2/32 dev host0; ip addr add 10.9.9.9/24 dev host0")
	l.follow()
	if got := rules(t); got != isAsIs {
		t.Errorf("what the machine gives itself makes it\n%s\nof\n%s", got, isAsIs)
	}
	run(t, "ip", "addr", "add", "10.0.1.1/24", "dev", "ve-web")
	run(t, "ip", "addr", "add", "fd05::1/64", "dev", "ve-web", "nodad")
	run(t, "ip", "addr", "add", "10.0.1.1", "peer", "10.0.2.2/32", "dev", "ve-web")
	run(t, "ip", "addr", "add", "10.9.9.1/24", "dev", "ve-web", "valid_lft", "600", "preferred_lft", "600") // as it is learned
	all := []string{"10.0.1.2:80", "[fd05::2]:80", "10.0.2.2:80"}
	answers := func(want bool, addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			_, c, err := dial(address)
			if err == nil {
				c.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
	answers(false, "10.0.1.2:80")
	l.follow()
	answers(true, all...)
	answers(false, "10.9.9.9:80")
	// It finds itself by the host from there, too.
	netlab.In(t, g.ns, func() error {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 0, 1, 2)}, Timeout: 10 * time.Second}).Dial("tcp", "192.0.2.1:8080")
		if err != nil {
			return fmt.Errorf("its own port: %w", err)
		}
		return c.Close()
	})
	l.restart()
	answers(true, all...)
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8081:81"), false))
	_, err := l.RemovePorts(t.Context(), "web", ports(t, "8081:81"), false)
	l.must(err)
	answers(true, all...)
	run(t, "ip", "addr", "del", "10.0.1.1/24", "dev", "ve-web")
	l.follow()
	if got := elements(t, "given4"); strings.Contains(got, "10.0.1.") {
		t.Errorf("what has gone is let in: %s", got)
	}
	// While there was no daemon.
	run(t, "ip", "addr", "del", "fd05::1/64", "dev", "ve-web")
	run(t, "ip", "addr", "del", "10.0.1.1", "peer", "10.0.2.2/32", "dev", "ve-web")
	l.restart()
	if got := rules(t); got != isAsIs {
		t.Errorf("the rules are\n%s\nand were\n%s", got, isAsIs)
	}
	run(t, "ip", "addr", "add", "10.0.1.1/24", "dev", "ve-web")
	l.follow()
	l.end(g)
	if got := elements(t, "given4"); strings.Contains(got, "ve-web") {
		t.Errorf("it has left %s", got)
	}
	l.end(other)
	if after := traces(t, l); after != before {
		t.Errorf("they have left\n%s\nof before\n%s", after, before)
	}
}
