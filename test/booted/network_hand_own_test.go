package booted

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

// What an administrator sets up on both ends of a link by hand works beside what
// machd has set up: an address, and a port of his own rules. The machine alone
// cannot do so.
func TestMachdNetworkLetsInWhatTheHostGave(t *testing.T) {
	n := joinedNetwork(t)
	const name = "hand-made"
	startByHand(t, watch(t), name, "-n")
	d, other := findDweller(t, name), startDweller(t, "hand-other", "-n")
	d.wantNetwork(t)
	d.serve(t, 80)
	serveAt(t, here, "host", 4090)
	serveNames(t)
	mine, yours, hers, mine6, yours6 := addr("10.71.1.1"), addr("10.71.1.2"), addr("10.71.2.2"), addr("fd71::1"), addr("fd71::2")
	inside := func(command ...string) {
		t.Helper()
		if out, err := d.Command(t.Context(), command...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
	}
	run(t, "ip", "addr", "add", "10.71.1.1/24", "dev", d.link)
	run(t, "ip", "addr", "add", "fd71::1/64", "dev", d.link, "nodad")
	inside("ip", "addr", "add", "10.71.1.2/24", "dev", "host0")
	inside("ip", "addr", "add", "fd71::2/64", "dev", "host0", "nodad")
	run(t, "nft", "add table ip by_hand { chain in { type nat hook prerouting priority -110; iifname lan0 tcp dport 8290 dnat to 10.71.1.2:80; }; }")
	t.Cleanup(func() { run(t, "nft", "delete table ip by_hand") })
	works := func() {
		t.Helper()
		eventually(t, "the host reaches it", func() error {
			_, err := here.Ask("tcp", at(yours, 80))
			return err
		})
		for _, network := range []string{"tcp", "udp"} {
			wantAnswer(t, here, network, at(yours, 80), name, mine)
			wantAnswer(t, here, network, at(yours6, 80), name, mine6)
			wantAnswer(t, d.Place, network, at(mine, 4090), "host", yours)
			wantAnswer(t, d.Place, network, at(mine6, 4090), "host", yours6)
			wantAnswer(t, here, network, at(d.v4, 80), name, d.gate4)
		}
		wantAnswer(t, n.Outside, "tcp", at(lan.Host4, 8290), name, addr(lan.Outside4))
	}
	works()
	wantWellBy(t, name)
	// His way out may be the other one as well.
	inside("ip", "route", "replace", "default", "via", mine.String())
	works()
	wantWellBy(t, name)

	e, w, w6 := listenFor(t, here, ":8291"), wireOf(t, d, d.gate4), wireOf(t, d, d.gate6)
	hears := func(from netip.Addr) bool {
		wire, to := w, d.gate4
		if from.Is6() {
			wire, to = w6, d.gate6
		}
		text := "from " + from.String()
		kind, packet := datagram(from, to, 8291, text)
		wire.send(t, wire.host, kind, packet)
		return e.hears(text, moment)
	}
	wantSpoofsRefused := func() {
		t.Helper()
		for _, from := range []netip.Addr{
			other.v4, other.v6, d.gate4, d.gate6, mine, mine6, hers, addr(lan.Outside4), addr(lan.Host4), addr(lan.Outside6), addr("10.99.99.9"),
		} {
			if hears(from) {
				t.Errorf("what comes from %s is heard", from)
			}
		}
	}
	wantSpoofsRefused()
	// An address that the machine alone has is of no use to it.
	inside("ip", "addr", "add", "10.71.2.2/24", "dev", "host0")
	wantSpoofsRefused()
	wantNobody(t, here, "tcp", at(hers, 80))
	f := wantFound(t, diagnose(t, name), "sender", "has the address 10.71.2.2/24, too", "is dropped")
	run(t, "sh", "-ec", f.Command)
	eventually(t, "what the doctor says lets it in", func() error {
		_, err := here.Ask("tcp", at(hers, 80))
		return err
	})
	wantWellBy(t, name)
	run(t, "ip", "addr", "del", "10.71.2.1/24", "dev", d.link)

	run(t, "systemctl", "restart", theService)
	works()
	eventually(t, "what was taken back is refused", func() error {
		if hears(hers) {
			return errors.New("it is heard")
		}
		return nil
	})
	wantSpoofsRefused()
	run(t, "ip", "addr", "del", "10.71.1.1/24", "dev", d.link)
	run(t, "ip", "addr", "del", "fd71::1/64", "dev", d.link)
	eventually(t, "nothing of it is let in any more", func() error {
		if out := run(t, "nft", "list", "ruleset"); strings.Contains(out, "10.71.1.") && strings.Contains(out, d.link+"\" . 10.71") || strings.Contains(out, "fd71::") {
			return fmt.Errorf("there is\n%s", out)
		}
		return nil
	})
	if hears(yours) || hears(yours6) || !hears(d.v4) {
		t.Error("the guard is not as it was before")
	}
}
