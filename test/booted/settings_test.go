package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// asFound is a settings file as people keep them: comments, spaces, a section
// that comes twice, one of ours, and a key that nobody knows.
const asFound = `# kept by hand
[Exec]
PrivateUsers=no
NotifyReady=yes
Capability=CAP_NET_ADMIN CAP_SYS_ADMIN
SystemCallFilter=@keyring bpf
NoSuchKey=whatever

[Files]
Bind = /srv:/mnt/srv
BindReadOnly=/etc/hostname:/mnt/hn

[Network]
VirtualEthernet=yes
[Network]
Port=8082:80
Port=udp:5353:53

[X-Machd]
Note=ours
`

// Files that systemd-nspawn takes are in force whichever client starts the
// container, and are left as they are.
func TestSettingsFilesOfTheWild(t *testing.T) {
	const name = "settled"
	file := filepath.Join("/etc/systemd/nspawn", name+".nspawn")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile("/srv/seen-inside", nil, 0o644))
	installGuest(t, name)
	must(t, os.Remove(filepath.Join(settings, name+".nspawn")))
	must(t, os.WriteFile(file, []byte(asFound), 0o644))
	t.Cleanup(func() {
		os.Remove(file)
		os.Remove("/srv/seen-inside")
	})
	w := watch(t)
	for _, client := range clients() {
		observe(t, "systemctl", "reset-failed", serviceOf(name))
		run(t, client, "start", name)
		leader, unit := w.properties(t, name)["Leader"], w.properties(t, name)["Unit"].(string)
		root := fmt.Sprintf("/proc/%v/root", leader)
		if _, err := os.Stat(filepath.Join(root, "mnt/srv/seen-inside")); err != nil {
			t.Errorf("%s: the folder is not bound: %v", client, err)
		}
		if err := os.WriteFile(filepath.Join(root, "mnt/hn"), nil, 0o644); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%s: the file can be written: %v", client, err)
		}
		if bounding := capabilities(t, leader); bounding>>12&1 == 0 || bounding>>21&1 == 0 {
			t.Errorf("%s: its capabilities are %x", client, bounding)
		}
		uidMap, err := os.ReadFile(fmt.Sprintf("/proc/%v/uid_map", leader))
		if must(t, err); strings.Join(strings.Fields(string(uidMap)), " ") != "0 0 4294967295" {
			t.Errorf("%s: its users are %s", client, uidMap)
		}
		if links := w.properties(t, name)["NetworkInterfaces"].([]int32); len(links) != 1 {
			t.Errorf("%s: its links are %v", client, links)
		}
		log := run(t, "journalctl", "-q", "-o", "cat", "-u", unit)
		if !strings.Contains(log, "NoSuchKey") {
			t.Errorf("%s: nobody says that a key is unknown:\n%s", client, log)
		}
		run(t, client, "poweroff", name)
		eventually(t, "it is off", unitIs(t, unit, "inactive"))
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != asFound {
		t.Errorf("the file is another one, %v:\n%s", err, now)
	}
}

// capabilities are those that a process and its children can have.
func capabilities(t *testing.T, pid any) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%v/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			must(t, err)
			return n
		}
	}
	t.Fatal("the kernel does not tell its capabilities")
	return 0
}
