package booted

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// linksInside returns the links of a machine that is started from tiny for this
// question.
func linksInside(t *testing.T, options ...string) []string {
	t.Helper()
	argv := slices.Concat([]string{"machctl", "run", "tiny"}, options, []string{"--", "/bin/sh", "-c", "ls /sys/class/net"})
	links := strings.Fields(run(t, argv...))
	slices.Sort(links)
	return links
}

// A start says which network a machine has.
func TestMachdNetworkIsWhatWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		options string
		want    []string
	}{
		{"", []string{"host0", "lo"}},
		{"-n", []string{"host0", "lo"}},
		{"--network=none", []string{"lo"}},
		{"--zone=options", []string{"host0", "lo"}},
		{"-n --network-veth-extra=options-x:extra0", []string{"extra0", "host0", "lo"}},
		{"--network=none --network-veth-extra=options-y:extra0", []string{"extra0", "lo"}},
	} {
		if got := linksInside(t, strings.Fields(c.options)...); !slices.Equal(got, c.want) {
			t.Errorf("with %q it has %q, want %q", c.options, got, c.want)
		}
	}
	host := strings.Fields(run(t, "sh", "-c", "ls /sys/class/net"))
	slices.Sort(host)
	if got := linksInside(t, "--network=host"); !slices.Equal(got, host) {
		t.Errorf("with the host's network it has %q, and the host has %q", got, host)
	}
}

// Settings that are changed with the start do not count any more.
func TestMachdNetworkIsSavedOverSettings(t *testing.T) {
	const name = "network-undone"
	installTiny(t, name)
	read := filepath.Join(settings, name+".nspawn")
	must(t, os.WriteFile(read, []byte("[Network]\nVirtualEthernet=yes\n"), 0o644))
	t.Cleanup(func() {
		endDweller(t, name)
		os.Remove(read)
		removeSaved(t, name)
	})
	for _, mode := range []string{"none", "host"} {
		argv := []string{"machctl", "start", name, "--save", "--no-boot", "--network=" + mode}
		if plan := run(t, append(argv, "--dry-run", "--", "sleep", "infinity")...); strings.Contains(plan, "link ve-") {
			t.Errorf("with the network %s it gets a link:\n%s", mode, plan)
		}
		run(t, append(argv, "--", "sleep", "infinity")...)
		if link, err := os.Stat("/sys/class/net/ve-" + name); err == nil {
			t.Errorf("with the network %s it has %s", mode, link.Name())
		}
		run(t, "machctl", "stop", "--timeout=1", name)
	}
}

// Links of the host are passed on, beside one to the host. ipvlan is not of every
// kernel's; test/kernel has it.
func TestMachdNetworkPassesLinksOn(t *testing.T) {
	run(t, "ip", "link", "add", "passed0", "type", "veth", "peer", "name", "passed1")
	t.Cleanup(func() { run(t, "ip", "link", "delete", "passed0") })
	for _, link := range []string{"passed0", "passed1"} {
		live.SayUdevKnows(t, link)
	}
	for _, c := range []struct {
		options string
		want    []string
	}{
		{"--network=none --macvlan=passed0", []string{"lo", "mv-passed0"}},
		{"-n --macvlan=passed0:lan", []string{"host0", "lan", "lo"}},
		{"-n --interface=passed1", []string{"host0", "lo", "passed1"}},
	} {
		got := linksInside(t, append(strings.Fields(c.options), "--private-users=no")...)
		if !slices.Equal(got, c.want) {
			t.Errorf("with %q it has %q, want %q", c.options, got, c.want)
		}
		eventually(t, "the links are back", func() error {
			for _, link := range []string{"passed0", "passed1"} {
				if _, err := os.Stat("/sys/class/net/" + link); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// What was saved is there at the next start, by whatever program, and what is
// removed is not.
func TestMachdNetworkIsSaved(t *testing.T) {
	const name = "network-kept"
	installOwnGuest(t, name)
	file := filepath.Join("/etc/systemd/nspawn", name+".nspawn")
	t.Cleanup(func() { os.Remove(file) })
	run(t, "machctl", "start", name, "--zone=kept", "--address=10.77.3.2/24", "-p", "18080:80", "--expose-host=15432", "--save")
	text, err := os.ReadFile(file)
	must(t, err)
	// What /run says until then stays, since nobody reads it beside these.
	const want = "[Exec]\nNotifyReady=yes\n\n[Network]\nVirtualEthernet=yes\nZone=kept\n\n[X-Machd]\nAddress=10.77.3.2/24\nPublish=18080:80\nExposeHost=15432\n"
	if string(text) != want {
		t.Errorf("the settings are\n%s\nwant\n%s", text, want)
	}
	run(t, "machctl", "stop", name)

	run(t, "systemctl", "start", serviceOf(name))
	seen := func() string {
		return run(t, "machctl", "status", "-n0", name) + run(t, "machctl", "port", "list", "--no-legend", name)
	}
	for _, want := range []string{", zone kept, by machd", "10.77.3.2", "18080/tcp -> 80", "15432/tcp <- 15432"} {
		if now := seen(); !strings.Contains(now, want) {
			t.Errorf("there is no %q in\n%s", want, now)
		}
	}
	run(t, "machctl", "port", "add", name, "18081-18082:81-82")
	run(t, "machctl", "port", "add", name, "18081:81", "--save") // it is there already, and kept from now on
	run(t, "machctl", "port", "remove", name, "18080", "--save") // wherever it leads
	run(t, "machctl", "stop", name)

	run(t, "machctl", "start", name)
	now := seen()
	for text, there := range map[string]bool{"18081/tcp -> 81": true, "18082/tcp": false, "18080/tcp": false} {
		if strings.Contains(now, text) != there {
			t.Errorf("%q is there: %v\n%s", text, !there, now)
		}
	}
	run(t, "machctl", "stop", name)
}

// A network that cannot be is refused before anything is done, with the way out.
func TestMachdNetworkRefusesNonsense(t *testing.T) {
	const name = "network-wrong"
	installTiny(t, name)
	left := func() []string {
		records, err := os.ReadDir("/run/machd/network")
		must(t, err)
		list := []string{run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "machine-network*")}
		for _, r := range records {
			list = append(list, r.Name())
		}
		return slices.DeleteFunc(list, func(s string) bool { return !strings.Contains(s, "network-wrong") })
	}
	for _, c := range []struct{ options, want string }{
		{"--network=vlan", "'vlan' is none of veth, none and host"},
		{"--network=host -p 80", "Option 'network' is host, and such a machine has no links of its own, which option 'publish' is about"},
		{"--network=none --zone=z", "Option 'network' is none, and option 'zone' asks for one"},
		{"--zone=z --bridge=lo", "Options 'zone' and 'bridge' contradict each other"},
		{"--zone=thirteen-long", "'thirteen-long' is no name of a zone"},
		{"--bridge=nosuch", "this host has no link 'nosuch'"},
		{"--bridge=lo", "link 'lo' is no bridge"},
		{"--macvlan=nosuch", "this host has no link 'nosuch'"},
		{"--address=10.77.4.2", "lacks the length of its network's prefix"},
		{"--address=10.77.4.2/31", "has no room for a gateway"},
		{"--address=10.77.4.2/24 --gateway=10.77.5.1", "is in the network of none of the machine's addresses"},
		{"--address=127.0.0.5/8", "is none that a machine can be reached at"},
		{"--mac=01:00:00:00:00:01", "is one of a group"},
		{"-p 0", "there is no port 0; ports are from 1 to 65535"},
		{"-p 65536", "there is no port 65536; ports are from 1 to 65535"},
		{"-p 9001-9000", "the range 9001-9000 begins behind its end"},
		{"-p 8000-8001:9000", "8000-8001 are 2 ports and 9000 are 1"},
		{"-p 80:81 -p 80:82", "port 80/tcp on the host leads to two, 81 and 82"},
		{"--expose-host=80:1 --expose-host=80:2", "port 80/tcp at the gateway leads to two, 1 and 2"},
		{"--vm -n", "Option 'network' is for containers, and 'vm' asks for a virtual machine"},
	} {
		for _, dry := range []string{"", "--dry-run"} {
			o := observe(t, append([]string{"machctl", "start", name}, strings.Fields(c.options+" "+dry)...)...)
			if o.Code == 0 || !strings.Contains(o.Stderr, c.want) {
				t.Errorf("%s %s: exit status %d, %s\nwant %q", c.options, dry, o.Code, o.Stderr, c.want)
			}
		}
	}
	if l := left(); len(l) > 0 {
		t.Errorf("something is left: %q", l)
	}
}

// Everybody may see which ports there are; opening some takes a right, and so
// does a diagnosis.
func TestMachdPortsTakeARight(t *testing.T) {
	const name = "network-right"
	installTiny(t, name)
	run(t, "machctl", "start", name, "-n", "-p", "18090:90", "--no-boot", "--", "sleep", "infinity")
	if o := observeAs(t, "alice", "machctl", "port", "list", "--no-legend", name); o.Code != 0 || !strings.Contains(o.Stdout, "18090/tcp") {
		t.Errorf("alice sees %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	for _, words := range []string{"port add " + name + " 18091", "port remove " + name + " 18090:90", "doctor", "doctor --fix " + name} {
		o := observeAs(t, "alice", append([]string{"machctl", "--no-ask-password"}, strings.Fields(words)...)...)
		if o.Code != 4 || !strings.Contains(o.Stderr, "org.machd.manage-network") {
			t.Errorf("alice's %s: exit status %d, %s%s", words, o.Code, o.Stdout, o.Stderr)
		}
	}
	var ports []struct{ Host int }
	must(t, json.Unmarshal([]byte(run(t, "machctl", "port", "list", "--json=short", name)), &ports))
	if len(ports) != 1 || ports[0].Host != 18090 {
		t.Errorf("the ports are %+v", ports)
	}
}

// A plan shows links, addresses and rules before they are made.
func TestMachdNetworkIsPlanned(t *testing.T) {
	const name = "network-planned"
	installTiny(t, name)
	knobsAtRest(t) // a machine of another test may be going
	before := run(t, "ip", "-brief", "address") + run(t, "nft", "list", "ruleset")
	plan := run(t, "machctl", "start", "--dry-run", name, "-n", "--address=10.77.6.2/24", "--gateway=10.77.6.1", "-p", "18100:80")
	for _, want := range []string{
		"+ link ve-", "=10.77.6.1/24", "+ address host0=10.77.6.2/24", "+ port " + name + "=18100:80/tcp", "+ rule nftables",
		"18100 : 10.77.6.2 . 80",
	} {
		if !strings.Contains(plan, want) {
			t.Errorf("there is no %q in the plan:\n%s", want, plan)
		}
	}
	if after := run(t, "ip", "-brief", "address") + run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("the plan changed something, from\n%s\nto\n%s", before, after)
	}
}

// The doctor says so where there is nobody to ask.
func TestMachdDoctorWithoutMachd(t *testing.T) {
	useStock(t)
	o := observe(t, "machctl", "doctor")
	if o.Code != 1 || !strings.Contains(o.Stdout, "the machine manager is systemd-machined") ||
		!strings.Contains(o.Stdout, "$ systemctl enable machd && systemctl restart machd.socket machd.service") {
		t.Errorf("exit status %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	// The command is the way out.
	run(t, "sh", "-c", "systemctl enable machd && systemctl restart machd.socket machd.service")
	if o := observe(t, "machctl", "doctor"); strings.Contains(o.Stdout, "systemd-machined") || !strings.Contains(o.Stdout, "host: ") {
		t.Errorf("afterwards: exit status %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
}
