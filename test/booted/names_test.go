package booted

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What cannot be a machine's name is refused before anything is touched, and
// machctl says what is wrong and what to do. Following that works.
func TestNamesThatCannotBeMachines(t *testing.T) {
	const image, wayOut = "work_dev", "work-dev"
	dir := filepath.Join(guests, image)
	run(t, "cp", "-a", filepath.Join(guests, "c8-ns"), dir)
	t.Cleanup(func() {
		os.RemoveAll(dir)
		os.RemoveAll(filepath.Join(guests, wayOut))
	})
	before := touched(t)
	hint := regexp.MustCompile(`such as "([^"]+)"`)
	for name, fault := range map[string]string{image: "_", "a..b": ".", "-x": "-", "a-.b": "-"} {
		for _, client := range clients() {
			o := observe(t, client, "start", "--", name)
			if o.Code == 0 {
				t.Errorf("%s starts %q", client, name)
			}
			if client == "machctl" && (!strings.Contains(o.Stderr, `"`+name+`"`) || !strings.Contains(o.Stderr, "'"+fault+"'")) {
				t.Errorf("%s start %s says:\n%s", client, name, o.Stderr)
			}
			if found := hint.FindStringSubmatch(o.Stderr); name == image && client == "machctl" && (found == nil || found[1] != wayOut) {
				t.Errorf("machctl names no way out:\n%s", o.Stderr)
			}
		}
	}
	// What others have left may go meanwhile.
	if left := missingFrom(strings.Split(touched(t), "\n"), strings.Split(before, "\n")); len(left) > 0 {
		t.Errorf("something is left: %q", left)
	}
	for _, client := range clients() {
		if list := run(t, client, "--no-legend", "--no-pager", "list-images"); !strings.Contains(list, image+" ") {
			t.Errorf("%s does not list the image:\n%s", client, list)
		}
	}
	run(t, "machinectl", "rename", image, wayOut)
	run(t, "machinectl", "start", wayOut)
	t.Cleanup(func() { observe(t, "systemctl", "kill", "--signal=KILL", serviceOf(wayOut)) })
	if got := run(t, "machinectl", "show", "-p", "RootDirectory", "--value", wayOut); got != filepath.Join(guests, wayOut) {
		t.Errorf("its root is %s", got)
	}
}

// touched is what a start may leave: units, mounts, links of the network.
func touched(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "systemd-nspawn@*", "machine-*") + "\n" +
		run(t, "sh", "-c", "ls /sys/class/net /run/systemd/nspawn /run/systemd/machines 2>/dev/null || true") + "\n" + string(mounts)
}

// A name with dashes and dots works with every verb.
func TestNameWithDashesAndDots(t *testing.T) {
	const name = "deb-9-template.v1-2"
	startGuest(t, name)
	for _, client := range clients() {
		if got := strings.TrimSpace(run(t, client, "shell", name, "/bin/hostname")); got != name {
			t.Errorf("%s shell says %q", client, got)
		}
		if got := run(t, client, "show", name, "-p", "Unit", "--value"); got != serviceOf(name) {
			t.Errorf("%s: its unit is %q", client, got)
		}
		run(t, client, "status", "--no-pager", name)
		run(t, client, "kill", "--kill-whom=leader", "--signal=SIGCHLD", name)
	}
	run(t, "systemctl", "-M", name, "is-active", "dbus.service")
	run(t, "machinectl", "poweroff", name)
	eventually(t, "it is off", unitIs(t, serviceOf(name), "inactive"))
}
