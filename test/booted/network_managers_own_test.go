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

// A system with systemd-networkd inside gets by DHCP what it would have had
// without, and keeps that over a renewal.
func TestMachdNetworkOfASystemWithNetworkd(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	const name = "networkd-in"
	bareOne := startDweller(t, name, "-n")
	bareOne.wantNetwork(t)
	endDweller(t, name)
	wantNoRemains(t, bareOne)
	installGuest(t, name)
	must(t, os.MkdirAll(filepath.Join(guests, name, "etc/systemd/system/multi-user.target.wants"), 0o755))
	must(t, os.Symlink("/usr/lib/systemd/system/systemd-networkd.service", filepath.Join(guests, name, "etc/systemd/system/multi-user.target.wants/systemd-networkd.service")))
	run(t, "machctl", "start", name, "-p", "8220:80")
	serveAt(t, n.Internet, "internet", 4070)
	var d dweller
	has := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			state := observe(t, "machctl", "exec", name, "--", "networkctl", "--no-pager", "status", "host0").Stdout
			if !strings.Contains(state, "routable (configured)") {
				return fmt.Errorf("networkd says:\n%s", state)
			}
			d = findDweller(t, name)
			if d.v4 != bareOne.v4 || d.v6 != bareOne.v6 || d.gate4 != bareOne.gate4 || !d.gate6.IsValid() {
				return fmt.Errorf("it has %v and %v by %v and %v, without networkd %v and %v by %v", d.v4, d.v6, d.gate4, d.gate6, bareOne.v4, bareOne.v6, bareOne.gate4)
			}
			return nil
		})
		wantAnswer(t, d.Place, "tcp", at(lan.Internet4, 4070), "internet", addr(lan.HostWide4))
		wantAnswer(t, d.Place, "tcp", at(lan.Internet6, 4070), "internet", addr(lan.HostWide6))
	}
	has("at first")
	d.serve(t, 80)
	wantAnswer(t, n.Outside, "tcp", at(lan.Host4, 8220), name, addr(lan.Outside4))
	wantAnswer(t, here, "tcp", "[::1]:8220", name, nobody)
	for _, argv := range [][]string{{"networkctl", "renew", "host0"}, {"networkctl", "reconfigure", "host0"}, {"systemctl", "restart", "systemd-networkd"}} {
		run(t, append([]string{"machctl", "exec", name, "--"}, argv...)...)
		has(strings.Join(argv, " "))
	}
	wantAnswer(t, n.Outside, "tcp", at(lan.Host6, 8220), name, addr(lan.Outside6))
}

// systemd-networkd of the host leaves our links to us, unless its administrator
// has a file for them.
func TestMachdNetworkBesideNetworkdOfTheHost(t *testing.T) {
	joinedNetwork(t)
	must(t, os.MkdirAll("/etc/systemd/network", 0o755))
	// The links to others are this test's.
	const others = "/etc/systemd/network/05-others.network"
	must(t, os.WriteFile(others, []byte("[Match]\nName=lan0 wan0 later0\n[Link]\nUnmanaged=yes\n"), 0o644))
	t.Cleanup(func() { os.Remove(others) })
	early := startDweller(t, "networkd-early", "-n")
	// It waits for udev, which no container has, if it could write there.
	run(t, "mount", "-o", "remount,bind,ro", "/sys")
	t.Cleanup(func() { run(t, "mount", "-o", "remount,bind,rw", "/sys") })
	run(t, "systemctl", "start", "systemd-networkd.service")
	t.Cleanup(func() { run(t, "systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service") })
	late := startDweller(t, "networkd-late", "-n", "-p", "8230:80")
	zoned := startDweller(t, "networkd-zoned", "--zone=quiet")
	check := func() {
		t.Helper()
		for _, d := range []dweller{early, late, zoned} {
			link := d.link
			if d.name == zoned.name {
				link = "vz-quiet"
			}
			eventually(t, "networkd leaves it alone", func() error {
				if out := run(t, "networkctl", "--no-pager", "--no-legend", "list", link); !strings.Contains(out, "unmanaged") {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
			if got := addressesAt(t, here, link); len(got) != 2 || !slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Addr() == d.gate4 }) {
				t.Errorf("%s has %v", link, got)
			}
		}
	}
	check()
	run(t, "networkctl", "reload")
	run(t, "systemctl", "restart", "systemd-networkd.service")
	check()
	late.serve(t, 80)
	wantAnswer(t, here, "tcp", "127.0.0.1:8230", late.name, late.gate4)
	if out := observe(t, "nft", "list", "tables").Stdout; strings.Contains(out, "io.systemd.nat") {
		t.Errorf("networkd has rules:\n%s", out)
	}
	endDweller(t, early.name)

	// The administrator's file.
	const own = "/etc/systemd/network/70-mine.network"
	must(t, os.WriteFile(own, []byte("[Match]\nKind=veth\nName=ve-mine-*\n[Network]\nAddress=10.77.0.1/24\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n"), 0o644))
	t.Cleanup(func() { os.Remove(own); run(t, "networkctl", "reload") })
	run(t, "networkctl", "reload")
	t.Cleanup(func() { endDweller(t, "mine-1") })
	run(t, dwellerCommand("mine-1", "-n")...)
	eventually(t, "his address is there", func() error {
		if got := addressesAt(t, here, "ve-mine-1"); len(got) != 1 || got[0] != netip.MustParsePrefix("10.77.0.1/24") {
			return fmt.Errorf("it has %v", got)
		}
		return nil
	})
	if d := findDweller(t, "mine-1"); d.v4.IsValid() {
		t.Errorf("inside there is %v", d.v4)
	}
	if again := findDweller(t, late.name); again.v4 != late.v4 {
		t.Errorf("the other has %v", again.v4)
	}
}
