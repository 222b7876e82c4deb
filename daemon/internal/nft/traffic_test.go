package nft_test

import (
	"slices"
	"testing"

	"github.com/machd/machd/daemon/internal/nft"
)

func publishA(protocol uint8) []nft.Port {
	return []nft.Port{port(protocol, "", 8080, "10.213.0.2:80"), port(protocol, "", 8080, "[fd00:a::2]:80")}
}

func ports(lists ...[]nft.Port) (all []nft.Port) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func TestPublishedPortAnswersEverybody(t *testing.T) {
	w := newWorld(t)
	w.a.serve(t, "0.0.0.0:80", "[::]:80")
	w.host.serve(t, "0.0.0.0:9999")
	w.change(nft.Rules{}, nft.Rules{Ports: ports(both(publishA)...)})
	w.ask(t,
		// From outside the client is seen as it is.
		question{w.outside, "192.0.2.1:8080", "a 192.0.2.2"},
		question{w.outside, "[2001:db8:1::1]:8080", "a 2001:db8:1::2"},
		question{w.outside, "198.51.100.1:8080", "a 192.0.2.2"},
		// The host itself: its loopback has no meaning in the machine.
		question{w.host, "127.0.0.1:8080", "a 10.213.0.1"},
		question{w.host, "127.1.2.3:8080", "a 10.213.0.1"},
		question{w.host, "[::1]:8080", "a fd00:a::1"},
		question{w.host, "192.0.2.1:8080", "a 192.0.2.1"},
		question{w.host, "[2001:db8:1::1]:8080", "a 2001:db8:1::1"},
		// Another machine, by its gateway and by an address that is seen outside.
		question{w.b, "10.213.0.5:8080", "a 10.213.0.6"},
		question{w.b, "192.0.2.1:8080", "a 10.213.0.6"},
		question{w.b, "[fd00:b::1]:8080", "a fd00:b::2"},
		question{w.b, "[2001:db8:1::1]:8080", "a fd00:b::2"},
		// The machine itself.
		question{w.a, "10.213.0.1:8080", "a 10.213.0.1"},
		question{w.a, "192.0.2.1:8080", "a 10.213.0.1"},
		question{w.a, "[fd00:a::1]:8080", "a fd00:a::1"},
		question{w.a, "[2001:db8:1::1]:8080", "a fd00:a::1"},
		// Other ports are the host's still.
		question{w.outside, "192.0.2.1:9999", "host 192.0.2.2"},
		question{w.host, "127.0.0.1:9999", "host 127.0.0.1"},
	)
}

func TestPublishedPortIsOver(t *testing.T) {
	w := newWorld(t)
	w.a.serve(t, "0.0.0.0:80", "[::]:80")
	rules := nft.Rules{Ports: ports(both(publishA)...)}
	w.change(nft.Rules{}, rules)
	w.ask(t, question{w.outside, "192.0.2.1:8080", "a 192.0.2.2"})
	w.change(rules, nft.Rules{})
	w.ask(t,
		question{w.outside, "192.0.2.1:8080", ""},
		question{w.outside, "[2001:db8:1::1]:8080", ""},
		question{w.host, "127.0.0.1:8080", ""},
		question{w.host, "[::1]:8080", ""},
	)
}

func TestPortOfOneAddress(t *testing.T) {
	w := newWorld(t)
	w.a.serve(t, "0.0.0.0:80", "[::]:80")
	w.b.serve(t, "0.0.0.0:80", "[::]:80")
	w.change(nft.Rules{}, nft.Rules{Ports: ports(
		both(func(p uint8) nft.Port { return port(p, "127.0.0.1", 8080, "10.213.0.2:80") }),
		both(func(p uint8) nft.Port { return port(p, "::1", 8080, "[fd00:a::2]:80") }),
		both(func(p uint8) nft.Port { return port(p, "192.0.2.1", 8081, "10.213.0.2:80") }),
		both(func(p uint8) nft.Port { return port(p, "2001:db8:1::1", 8081, "[fd00:a::2]:80") }),
		// An address comes before all of them.
		both(func(p uint8) nft.Port { return port(p, "", 8081, "10.213.0.6:80") }),
		both(func(p uint8) nft.Port { return port(p, "", 8081, "[fd00:b::2]:80") }),
	)})
	w.ask(t,
		question{w.host, "127.0.0.1:8080", "a 10.213.0.1"},
		question{w.host, "[::1]:8080", "a fd00:a::1"},
		question{w.host, "127.0.0.2:8080", ""},
		question{w.host, "192.0.2.1:8080", ""},
		question{w.outside, "192.0.2.1:8080", ""},
		question{w.outside, "[2001:db8:1::1]:8080", ""},
		question{w.b, "10.213.0.5:8080", ""},
		question{w.a, "10.213.0.1:8080", ""},
		question{w.outside, "192.0.2.1:8081", "a 192.0.2.2"},
		question{w.outside, "[2001:db8:1::1]:8081", "a 2001:db8:1::2"},
		question{w.elsewhere, "198.51.100.1:8081", "b 198.51.100.2"},
		question{w.elsewhere, "[2001:db8:2::1]:8081", "b 2001:db8:2::2"},
		question{w.host, "127.0.0.1:8081", "b 10.213.0.5"},
		question{w.host, "[::1]:8081", "b fd00:b::1"},
	)
}

func TestInwardPort(t *testing.T) {
	w := newWorld(t)
	w.host.serve(t, "127.0.0.1:3306", "[::1]:3306", "192.0.2.1:3307")
	w.change(nft.Rules{}, nft.Rules{Inward: append(
		both(func(p uint8) nft.Inward { return inward("ve-a", p, "10.213.0.1:306", "127.0.0.1:3306") }),
		append(
			both(func(p uint8) nft.Inward { return inward("ve-a", p, "[fd00:a::1]:306", "[::1]:3306") }),
			both(func(p uint8) nft.Inward { return inward("ve-a", p, "10.213.0.1:307", "192.0.2.1:3307") })...)...,
	)})
	w.ask(t,
		question{w.a, "10.213.0.1:306", "host 10.213.0.2"},
		question{w.a, "[fd00:a::1]:306", "host fd00:a::2"},
		question{w.a, "10.213.0.1:307", "host 10.213.0.2"},
		// Nobody else's.
		question{w.b, "10.213.0.1:306", ""},
		question{w.b, "[fd00:a::1]:306", ""},
		question{w.outside, "10.213.0.1:306", ""},
		question{w.host, "10.213.0.1:306", ""},
		// And nothing else of the host's loopback.
		question{w.a, "10.213.0.1:3306", ""},
		question{w.a, "[fd00:a::1]:3306", ""},
	)
}

// What the host has for machines, such as their name server, stays the host's
// when a machine's port of that number is published.
func TestInwardPortComesFirst(t *testing.T) {
	w := newWorld(t)
	w.a.serve(t, "0.0.0.0:53", "[::]:53")
	w.host.serve(t, "10.213.0.5:53", "[fd00:b::1]:53")
	w.change(nft.Rules{}, nft.Rules{
		Ports: ports(
			both(func(p uint8) nft.Port { return port(p, "", 53, "10.213.0.2:53") }),
			both(func(p uint8) nft.Port { return port(p, "", 53, "[fd00:a::2]:53") }),
			both(func(p uint8) nft.Port { return port(p, "10.213.0.5", 53, "10.213.0.2:53") })),
		Inward: append(
			both(func(p uint8) nft.Inward { return inward("ve-b", p, "10.213.0.5:53", "10.213.0.5:53") }),
			both(func(p uint8) nft.Inward { return inward("ve-b", p, "[fd00:b::1]:53", "[fd00:b::1]:53") })...),
	})
	w.ask(t,
		question{w.b, "10.213.0.5:53", "host 10.213.0.6"},
		question{w.b, "[fd00:b::1]:53", "host fd00:b::2"},
		question{w.outside, "192.0.2.1:53", "a 192.0.2.2"},
		question{w.host, "127.0.0.1:53", "a 10.213.0.1"},
	)
}

func TestWayOut(t *testing.T) {
	w := newWorld(t)
	for _, s := range []space{w.outside, w.a, w.b} {
		s.serve(t, "0.0.0.0:81", "[::]:81")
	}
	w.ask(t,
		// A machine is seen as the host outside.
		question{w.a, "192.0.2.2:81", "outside 192.0.2.1"},
		question{w.a, "[2001:db8:1::2]:81", "outside 2001:db8:1::1"},
		// What is not published is for the host and other machines.
		question{w.host, "10.213.0.2:81", "a 10.213.0.1"},
		question{w.host, "[fd00:a::2]:81", "a fd00:a::1"},
		question{w.b, "10.213.0.2:81", "a 10.213.0.6"},
		question{w.b, "[fd00:a::2]:81", "a fd00:b::2"},
		question{w.outside, "10.213.0.2:81", ""},
		question{w.outside, "[fd00:a::2]:81", ""},
	)
}

func TestUplinksForwardForLinksOnly(t *testing.T) {
	w := newWorld(t)
	w.elsewhere.serve(t, "0.0.0.0:80", "[::]:80")
	w.a.serve(t, "0.0.0.0:80", "[::]:80")
	w.change(nft.Rules{}, nft.Rules{Ports: ports(both(publishA)...)})
	reach := func(want4, want6 string) []question {
		return []question{{w.outside, "198.51.100.2:80", want4}, {w.outside, "[2001:db8:2::2]:80", want6}}
	}
	// As a router, which some hosts are.
	w.ask(t, reach("elsewhere 192.0.2.2", "elsewhere 2001:db8:1::2")...)
	uplinks4 := []nft.Uplink{{Name: "up0"}, {Name: "up1"}}
	uplinks6 := []nft.Uplink{{Name: "up0", IPv6: true}, {Name: "up1", IPv6: true}}
	// Of one family only, which the host forwards for nobody else.
	w.change(nft.Rules{}, nft.Rules{Uplinks: uplinks6})
	w.ask(t, reach("elsewhere 192.0.2.2", "")...)
	w.change(nft.Rules{Uplinks: uplinks6}, nft.Rules{Uplinks: uplinks4})
	w.ask(t, reach("", "elsewhere 2001:db8:1::2")...)
	w.change(nft.Rules{}, nft.Rules{Uplinks: uplinks6})
	w.ask(t, reach("", "")...)
	w.ask(t,
		question{w.outside, "192.0.2.1:8080", "a 192.0.2.2"},
		question{w.a, "198.51.100.2:80", "elsewhere 198.51.100.1"},
		question{w.a, "[2001:db8:2::2]:80", "elsewhere 2001:db8:2::1"},
	)
	// What somebody else publishes in this way was meant to be forwarded.
	run(t, `table ip other {
		chain pre {
			type nat hook prerouting priority dstnat
			tcp dport 7000 dnat to 198.51.100.2:80
		}
	}`, "-f", "-")
	t.Cleanup(func() { run(t, "", "delete", "table", "ip", "other") })
	if answer, err := w.outside.ask(t, "tcp", "192.0.2.1:7000", soon); err != nil || answer != "elsewhere 192.0.2.2" {
		t.Errorf("somebody else's port: %q, %v", answer, err)
	}
	w.change(nft.Rules{Uplinks: slices.Concat(uplinks4, uplinks6)}, nft.Rules{})
	w.ask(t, reach("elsewhere 192.0.2.2", "elsewhere 2001:db8:1::2")...)
}
