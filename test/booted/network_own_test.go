package booted

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

// addr is an address of an example.
func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// nobody is for answers whose asker does not matter.
var nobody netip.Addr

// A machine has its network before its first instruction, with no daemon for
// networks inside nor on the host, reaches the Internet, and is reached.
func TestMachdNetworkIsThereFirst(t *testing.T) {
	t.Parallel()
	const name = "first-act"
	n := joinedNetwork(t)
	t.Cleanup(func() { endDweller(t, name) })
	// What it sees first is what it says.
	run(t, "machctl", "start", name, "--image=tiny", "--overlay", "--no-boot", "-n", "--",
		"sh", "-c", "(ip addr show dev host0; ip route; ip -6 route) >/first 2>&1; sleep infinity")
	d := findDweller(t, name)
	d.wantNetwork(t)
	first := readFile(t, fmt.Sprintf("/proc/%d/root/first", d.leader))
	for _, want := range []string{
		"LOWER_UP", "inet " + d.v4.String() + "/", "inet6 " + d.v6.String() + "/",
		"default via " + d.gate4.String() + " dev host0", "default via " + d.gate6.String() + " dev host0",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("its first command does not see %q, but:\n%s", want, first)
		}
	}
	if !slices.ContainsFunc(addressesAt(t, here, d.link), func(p netip.Prefix) bool { return p.Addr() == d.gate4 }) {
		t.Errorf("%s does not have %s", d.link, d.gate4)
	}

	for what, place := range map[string]lan.Place{"outside": n.Outside, "internet": n.Internet} {
		serveAt(t, place, what, 4000)
	}
	serveAt(t, here, "host", 4001)
	d.serve(t, 80)
	for _, network := range []string{"tcp", "udp"} {
		// By masquerade: those outside know no way to the machine.
		wantAnswer(t, d.Place, network, at(lan.Internet4, 4000), "internet", addr(lan.HostWide4))
		wantAnswer(t, d.Place, network, at(lan.Internet6, 4000), "internet", addr(lan.HostWide6))
		wantAnswer(t, d.Place, network, at(lan.Outside4, 4000), "outside", addr(lan.Host4))
		wantAnswer(t, d.Place, network, at(lan.Outside6, 4000), "outside", addr(lan.Host6))
		wantAnswer(t, d.Place, network, at(d.gate4, 4001), "host", d.v4)
		wantAnswer(t, d.Place, network, at(d.gate6, 4001), "host", d.v6)
		wantAnswer(t, here, network, at(d.v4, 80), name, d.gate4)
		wantAnswer(t, here, network, at(d.v6, 80), name, d.gate6)
	}
}

// The address is the name's, on every start.
func TestMachdNetworkStaysTheSame(t *testing.T) {
	t.Parallel()
	const name = "same-address"
	first := startDweller(t, name, "-n")
	first.wantNetwork(t)
	for range 2 {
		run(t, "machctl", "stop", "--timeout=1", name)
		wantNoRemains(t, first)
		other := startDweller(t, "another-"+name, "-n")
		run(t, dwellerCommand(name, "-n")...)
		again := findDweller(t, name)
		if again.v4 != first.v4 || again.v6 != first.v6 || again.gate4 != first.gate4 || again.gate6 != first.gate6 {
			t.Errorf("it has %v, %v, had %v, %v", again.v4, again.v6, first.v4, first.v6)
		}
		if other.v4 == again.v4 || other.v6 == again.v6 {
			t.Errorf("two have %v, %v", again.v4, again.v6)
		}
		endDweller(t, other.name)
	}
}

// The numbers of the book.
func TestMachdNetworkWithNumbers(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	serveAt(t, n.Internet, "internet", 4010)
	d := startDweller(t, "book-numbers", "-n", "--address=10.0.1.2/24", "--gateway=10.0.1.1")
	if d.v4 != addr("10.0.1.2") || d.prefix4 != 24 || d.gate4 != addr("10.0.1.1") {
		t.Errorf("it has %v/%d and the default route %v", d.v4, d.prefix4, d.gate4)
	}
	if got := addressesAt(t, here, d.link); !slices.Contains(got, netip.MustParsePrefix("10.0.1.1/24")) {
		t.Errorf("%s has %v", d.link, got)
	}
	wantAnswer(t, d.Place, "tcp", at(lan.Internet4, 4010), "internet", addr(lan.HostWide4))
	run(t, "machctl", "stop", "--timeout=1", d.name)
	wantNoRemains(t, d)
	// The same numbers for somebody else, once they are free.
	other := startDweller(t, "book-numbers-2", "-n", "--address=10.0.1.2/24", "--gateway=10.0.1.1")
	if other.v4 != d.v4 {
		t.Errorf("it has %v", other.v4)
	}
}

// Machines that others start have a network, too, unless their settings say
// otherwise.
func TestMachdNetworkForMachinesOfOthers(t *testing.T) {
	n := joinedNetwork(t)
	serveAt(t, n.Internet, "internet", 4020)
	w := watch(t)
	t.Run("systemd-nspawn -n", func(t *testing.T) {
		startByHand(t, w, "by-hand", "-n")
		d := findDweller(t, "by-hand")
		d.wantNetwork(t)
		wantAnswer(t, d.Place, "tcp", at(lan.Internet6, 4020), "internet", addr(lan.HostWide6))
	})
	t.Run("machinectl start", func(t *testing.T) {
		startGuest(t, "by-machinectl")
		findDweller(t, "by-machinectl").wantNetwork(t)
	})
	t.Run("Network=no", func(t *testing.T) {
		const name = "unwanted"
		installGuest(t, name)
		must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Exec]\nNotifyReady=yes\n[X-Machd]\nNetwork=no\n"), 0o644))
		run(t, "machinectl", "start", name)
		d := findDweller(t, name)
		if d.v4.IsValid() || d.gate4.IsValid() || len(addressesAt(t, here, d.link)) > 0 {
			t.Errorf("it has %v and %v, and the host %v", d.v4, d.gate4, addressesAt(t, here, d.link))
		}
	})
	t.Run("private network without a link", func(t *testing.T) {
		startByHand(t, w, "alone", "--private-network")
		if links := run(t, "nsenter", "--net=/proc/"+run(t, "machctl", "show", "-P", "Leader", "alone")+"/ns/net", "ls", "/sys/class/net"); strings.Contains(links, "host0") {
			t.Errorf("it has %s", links)
		}
	})
}

// A link that ends with its machine, however that ends, leaves nothing, and the
// kernel's switches are as they were.
func TestMachdNetworkLeavesNothing(t *testing.T) {
	joinedNetwork(t)
	run(t, "nft", "add table inet of_others { chain forward { type filter hook forward priority 0; policy accept; }; set x { type ipv4_addr; elements = { 192.0.2.77 }; }; }")
	t.Cleanup(func() { run(t, "nft", "delete", "table", "inet", "of_others") })
	switches, rules := knobsAtRest(t), tables(t)
	for how, end := range map[string]func(name string, leader int){
		"stop":              func(name string, _ int) { run(t, "machctl", "stop", "--timeout=1", name) },
		"terminate":         func(name string, _ int) { run(t, "machinectl", "terminate", name) },
		"leader killed":     func(_ string, leader int) { run(t, "kill", "-9", fmt.Sprint(leader)) },
		"supervisor killed": func(name string, _ int) { killUnit(t, name, "main") },
		"all killed":        func(name string, _ int) { killUnit(t, name, "all") },
		"while machd is killed": func(name string, _ int) {
			run(t, "systemctl", "kill", "--signal=KILL", theService)
			killUnit(t, name, "all")
		},
	} {
		t.Run(how, func(t *testing.T) {
			name := "leaves-" + how[:3]
			d := startDweller(t, name, "-n", "-p", "8077:80")
			d.wantNetwork(t)
			end(name, d.leader)
			wantNoRemains(t, d)
			eventually(t, "its ports are free", func() error {
				if out := run(t, "nft", "list", "ruleset"); strings.Contains(out, "8077") {
					return fmt.Errorf("there is\n%s", out)
				}
				return nil
			})
			wantRefusal(t, here, at(lan.Host4, 8077))
		})
	}
	eventually(t, "the switches are as before", func() error {
		after := knobs(t)
		for path, value := range switches {
			if after[path] != value {
				return fmt.Errorf("%s is %q, was %q", path, after[path], value)
			}
		}
		return nil
	})
	wantUnchanged(t, "tables of others", rules, tables(t))
}
