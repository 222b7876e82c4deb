package foreign

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

const machines = "/var/lib/machines"

// A visit is one command of a client about the guest NAME, and what it must do
// under every daemon.
type visit struct {
	command string
	code    int
	output  string // a pattern of both outputs together
}

var visits = []visit{
	{"machinectl list --no-legend", 0, `(?m)^NAME +container +systemd-nspawn +debian +13 +-`},
	{"machinectl show NAME -P State", 0, `^running\n$`},
	{"machinectl show nobody", 1, `Could not get path to machine: No machine 'nobody' known`},
	{"machinectl list-images --no-legend", 0, `(?m)^NAME +directory `},
	{"machinectl image-status NAME", 0, `Path: /var/lib/machines/NAME\n`},
	{"machinectl copy-to NAME /etc/hostname /root/copied", 0, `^$`},
	{"machinectl copy-to NAME /etc/hostname /root/copied", 1, `[Ff]ile exists`},
	{"machinectl copy-from NAME /root/copied /tmp/NAME-copied", 0, `^$`},
	{"cmp /etc/hostname /tmp/NAME-copied", 0, `^$`},
	{"machinectl enable NAME", 0, `machines.target.wants/systemd-nspawn@NAME.service`},
	{"machinectl disable NAME", 0, `Removed`},
	{"machinectl clone NAME NAME-2", 0, `^$`},
	{"machinectl rename NAME-2 NAME-3", 0, `^$`},
	{"machinectl read-only NAME-3 yes", 0, `^$`},
	{"machinectl show-image NAME-3 -P ReadOnly", 0, `^yes\n$`},
	{"machinectl read-only NAME-3 no", 0, `^$`},
	{"machinectl remove NAME-3", 0, `^$`},
	{"machinectl remove NAME", 1, `busy|in use`},
	{"importctl list-images --class=machine --no-legend", 0, `NAME`},
	{"systemctl -M NAME is-active dbus.service", 0, `^active\n$`},
	{"systemctl list-machines --no-legend", 0, `NAME`},
	{"loginctl -M NAME list-users --no-legend", 0, ``},
	{"hostnamectl -M NAME --static", 0, `^NAME\n$`},
	{"busctl -M NAME status org.freedesktop.systemd1", 0, `PID=1`},
	{"journalctl -M NAME -q -n 1 -o cat -t systemd", 0, `.`},
	{"systemd-run -q -M NAME --wait -P /bin/echo there", 0, `^there`},
	{"systemd-run -q -M NAME --wait /bin/false", 1, ``},
	{"systemd-cgls -M NAME --no-pager", 0, `init`},
	{"ps -o machine= -p LEADER", 0, `^OFPROCESS\n$`},
	{"getent passwd vu-NAME-0", 0, `^vu-NAME-0:.*:UID 0 of Container NAME:/:`},
	{"getent group vg-NAME-0", 0, `^vg-NAME-0:`},
	{"getent passwd vu-nobody-0", 2, `^$`},
	{"userdbctl user vu-NAME-0 --with-varlink=yes", 0, `Service: io.systemd.Machine`},
	{"ssh .host true", 255, `Permission denied`},
	{"ssh machine/nobody true", 255, ``},
}

// TestClients lets the clients that distributions ship visit one guest.
func TestClients(t *testing.T) {
	const name = "visited"
	startGuest(t, name)
	leader := live.Run(t, "machinectl", "show", name, "-P", "Leader")
	t.Cleanup(func() { os.Remove("/tmp/" + name + "-copied") })
	for _, v := range visits {
		fill := strings.NewReplacer("NAME", name, "LEADER", leader, "OFPROCESS", ofProcess(name))
		argv := strings.Fields(fill.Replace(v.command))
		if argv[0] == "ssh" {
			argv = append([]string{"ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"}, argv[1:]...)
		}
		got := live.Observe(t, argv...)
		if text := got.Stdout + got.Stderr; got.Code != v.code || !regexp.MustCompile(fill.Replace(v.output)).MatchString(text) {
			t.Errorf("%s: exit status %d, want %d and %s\n%s", strings.Join(argv, " "), got.Code, v.code, v.output, text)
		}
	}
}

// ofProcess is what libsystemd says of the machine of a guest's process: from
// 262 on nspawn registers a part of its service, and a part has no link.
func ofProcess(name string) string {
	if live.Host.Version >= 262 {
		return "-"
	}
	return name
}

// startGuest boots a copy of c8-ns and returns when its systemd is up.
func startGuest(t *testing.T, name string) {
	t.Helper()
	const settings = "/run/systemd/nspawn"
	live.Must(t, os.MkdirAll(settings, 0o755))
	file, root := filepath.Join(settings, name+".nspawn"), filepath.Join(machines, name)
	live.Must(t, os.WriteFile(file, []byte("[Exec]\nNotifyReady=yes\n"), 0o644))
	live.Run(t, "cp", "-a", filepath.Join(machines, "c8-ns"), root)
	live.Must(t, os.WriteFile(filepath.Join(root, "etc/hostname"), []byte(name+"\n"), 0o644))
	t.Cleanup(func() {
		live.Observe(t, "systemctl", "kill", "--signal=KILL", "systemd-nspawn@"+name)
		live.Observe(t, "systemctl", "stop", "systemd-nspawn@"+name)
		os.RemoveAll(root)
		os.Remove(file)
	})
	live.Run(t, "machinectl", "start", name)
}
