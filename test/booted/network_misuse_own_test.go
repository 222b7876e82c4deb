package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An address that another machine has, or a network that the host reaches
// otherwise, is refused before anything is begun.
func TestMachdNetworkClashes(t *testing.T) {
	t.Parallel()
	const other = "network-clashes"
	startDweller(t, "network-first", "--address=10.77.8.2/24")
	before := traces(t, other)
	for options, want := range map[string]string{
		"--address=10.77.8.2/24":   "is that of machine network-first",
		"--address=10.77.8.130/25": "is that of machine network-first",
		"--address=192.0.2.77/24":  "overlaps what the host reaches by 192.0.2.0/24 on ",
		"--address=192.0.2.130/30": "overlaps what the host reaches by 192.0.2.0/24 on ",
	} {
		o := observe(t, dwellerCommand(other, options)...)
		if o.Code == 0 || !strings.Contains(o.Stderr, want) {
			t.Errorf("%s: exit status %d, %s\nwant %q", options, o.Code, o.Stderr, want)
		}
	}
	wantNoTraces(t, before, other)
}

// Where links get no IPv6, machines have IPv4 alone, and nobody complains.
func TestMachdNetworkWithoutIPv6(t *testing.T) {
	const off = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	joinedNetwork(t)
	must(t, os.WriteFile(off, []byte("1"), 0))
	t.Cleanup(func() { must(t, os.WriteFile(off, []byte("0"), 0)) })
	d := startDweller(t, "network-ipv4", "-p", "18200:80")
	if !d.v4.IsValid() || !d.gate4.IsValid() || d.v6.IsValid() {
		t.Errorf("it has the addresses %v and %v, and the default route %v", d.v4, d.v6, d.gate4)
	}
	d.serve(t, 80)
	if got, err := here.Ask("tcp", "127.0.0.1:18200"); err != nil || got.Name != d.name {
		t.Errorf("its port answers %+v, %v", got, err)
	}
	if o := observe(t, "machctl", "doctor", d.name); strings.Contains(o.Stdout, "error ") {
		t.Errorf("the doctor says\n%s", o.Stdout)
	}
}

// A daemon that may not change the host's network refuses ports, and lets a
// machine run without a network. One that may gives it to the machine that runs.
func TestMachdNetworkWithoutPermission(t *testing.T) {
	const name = "network-powerless"
	joinedNetwork(t)
	dropIn := "/run/systemd/system/machd.service.d/powerless.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nCapabilityBoundingSet=~CAP_NET_ADMIN\n"), 0o644))
	restore := func() {
		os.Remove(dropIn)
		run(t, "systemctl", "daemon-reload")
		run(t, "systemctl", "restart", theService)
	}
	t.Cleanup(restore)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", theService)

	before := traces(t, name)
	o := observe(t, dwellerCommand(name, "-p", "18201:80")...)
	if o.Code == 0 || !strings.Contains(o.Stderr, "CAP_NET_ADMIN") {
		t.Errorf("a port is published: exit status %d, %s", o.Code, o.Stderr)
	}
	wantNoTraces(t, before, name)

	t.Cleanup(func() { endDweller(t, name) })
	run(t, dwellerCommand(name)...)
	if got := run(t, "machctl", "status", "-n0", name); !strings.Contains(got, "Problem: ") || !strings.Contains(got, "operation not permitted") {
		t.Errorf("its status does not say what is wrong:\n%s", got)
	}
	if o := observe(t, "machctl", "doctor", name); o.Code != 1 || !strings.Contains(o.Stdout, "error ") {
		t.Errorf("the doctor says, with exit status %d,\n%s", o.Code, o.Stdout)
	}
	restore()
	eventually(t, "it has its network", func() error {
		d := findDweller(t, name)
		if !d.v4.IsValid() || !d.gate4.IsValid() {
			return fmt.Errorf("it has %v and the default route %v", d.v4, d.gate4)
		}
		return nil
	})
}

// The links of names that are too long for one are called by systemd-nspawn's
// rule, and are found.
func TestMachdNetworkOfALongName(t *testing.T) {
	t.Parallel()
	name := "network-" + strings.Repeat("l", 56)
	d := startDweller(t, name, "-p", "18202:80")
	d.wantNetwork(t)
	if len(d.link) != 15 || !strings.HasPrefix(d.link, "ve-network-") {
		t.Errorf("its link is %s", d.link)
	}
	d.serve(t, 80)
	for _, address := range []string{"127.0.0.1:18202", "[::1]:18202"} {
		if got, err := here.Ask("tcp", address); err != nil || got.Name != name {
			t.Errorf("%s answers %+v, %v", address, got, err)
		}
	}
	run(t, "machctl", "stop", name)
	if links := strings.Fields(run(t, "ls", "/sys/class/net")); slices.Contains(links, d.link) {
		t.Errorf("%s is left", d.link)
	}
}
