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

// A guide fills in what a command line and a pattern say for the guest.
type guide = *strings.Replacer

// ssh stands for SSH in command lines: nobody is there to be asked.
const ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no "

// makeVisits makes visits, one after the other.
func makeVisits(t *testing.T, fill guide, visits []visit) {
	t.Helper()
	for _, v := range visits {
		argv := strings.Fields(fill.Replace(strings.ReplaceAll(v.command, "SSH ", ssh)))
		got := live.Observe(t, argv...)
		if text := got.Stdout + got.Stderr; got.Code != v.code || !regexp.MustCompile(fill.Replace(v.output)).MatchString(text) {
			t.Errorf("%s: exit status %d, want %d and %s\n%s", strings.Join(argv, " "), got.Code, v.code, v.output, text)
		}
	}
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
	{"systemd-cgtop -M NAME -n 1 -b", 0, `systemd-nspawn@NAME.service/payload/init.scope`},
	{"timedatectl -M NAME show -P Timezone", 0, `^Etc/UTC\n$`},
	{"localectl -M NAME status", 0, `System Locale: LANG=`},
	{"systemd-analyze -M NAME time", 0, `^Startup finished in`},
	{"systemctl -M lena@NAME is-active dbus.service", 0, `^active\n$`},
	{"systemctl --user -M lena@NAME is-active default.target", 0, `^active\n$`},
	{"loginctl -M NAME list-sessions --no-legend", 0, ` lena .* manager `},
	{"systemd-cgls -M NAME --no-pager", 0, `init`},
	{"ps -o machine= -p LEADER", 0, `^OFPROCESS\n$`},
	{"getent passwd vu-NAME-0", 0, `^vu-NAME-0:.*:UID 0 of Container NAME:/:`},
	{"getent group vg-NAME-0", 0, `^vg-NAME-0:`},
	{"getent passwd vu-nobody-0", 2, `^$`},
	{"userdbctl group vg-NAME-0 --with-varlink=yes", 0, `Service: io.systemd.Machine`},
	{"userdbctl user vu-nobody-0 --with-varlink=yes", 1, `does not exist`},
	{"userdbctl user vu-NAME-0 --with-varlink=yes", 0, `Service: io.systemd.Machine`},
	{"SSH .host true", 255, `Permission denied`},
	{"SSH machine/nobody true", 255, ``},
}

// TestClients lets the clients that distributions ship visit one guest.
func TestClients(t *testing.T) {
	t.Parallel()
	const name = "visited"
	startGuest(t, name)
	leader := live.Run(t, "machinectl", "show", name, "-P", "Leader")
	t.Cleanup(func() { os.Remove("/tmp/" + name + "-copied") })
	fill := strings.NewReplacer("NAME", name, "LEADER", leader, "OFPROCESS", ofProcess(name))
	makeVisits(t, fill, visits)
}

// ofProcess is what libsystemd says of the machine of a guest's process: from
// 262 on nspawn registers a part of its service, and a part has no link.
func ofProcess(name string) string {
	if live.Host.Version >= 262 {
		return "-"
	}
	return name
}

// startGuest boots a guest and returns when its systemd is up.
func startGuest(t *testing.T, name string, settings ...string) {
	t.Helper()
	installGuest(t, name, settings...)
	if got := live.Observe(t, "machinectl", "start", name); got.Code != 0 {
		t.Fatalf("%s does not start\n%s%s", name, got.Stderr, live.Run(t, "journalctl", "-q", "-n", "30", "-u", "systemd-nspawn@"+name))
	}
}

// installGuest makes a copy of c8-ns with a user lena, and with more lines in
// its settings.
func installGuest(t *testing.T, name string, settings ...string) {
	t.Helper()
	const dir = "/run/systemd/nspawn"
	live.Must(t, os.MkdirAll(dir, 0o755))
	file, root := filepath.Join(dir, name+".nspawn"), filepath.Join(machines, name)
	lines := append([]string{"[Exec]", "NotifyReady=yes"}, settings...)
	live.Must(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	live.Run(t, "cp", "-a", filepath.Join(machines, "c8-ns"), root)
	live.Must(t, os.WriteFile(filepath.Join(root, "etc/hostname"), []byte(name+"\n"), 0o644))
	live.Run(t, "useradd", "--root="+root, "--create-home", "--shell=/bin/bash", "lena")
	t.Cleanup(func() {
		live.Observe(t, "systemctl", "kill", "--signal=KILL", "systemd-nspawn@"+name)
		live.Observe(t, "systemctl", "stop", "systemd-nspawn@"+name)
		os.RemoveAll(root)
		os.Remove(file)
	})
}
