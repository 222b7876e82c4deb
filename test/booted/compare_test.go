package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// same is the name of the guest that is looked at under both daemons.
const same = "same-guest"

// lookers are commands that only look, NAME being the guest.
var lookers = []string{
	"CLIENT list", "CLIENT list -a", "CLIENT list --no-legend --max-addresses=all", "CLIENT list -l",
	"CLIENT list -o json", "CLIENT list --output=json-pretty -a",
	"CLIENT list-images", "CLIENT list-images --no-legend",
	"CLIENT show NAME", "CLIENT show NAME -p Leader --value", "CLIENT show NAME -p Class -p State -p Unit",
	"CLIENT show NAME -p NoSuchProperty", "CLIENT show nobody", "CLIENT show .host -p Name -p Class -p State",
	"CLIENT status NAME -n 0", "CLIENT status nobody",
	"CLIENT shell NAME /bin/echo a b", "CLIENT shell --uid=nobody NAME /usr/bin/id -un", "CLIENT shell nobody@NAME /usr/bin/id -un",
	"CLIENT shell --setenv=WORD=said NAME /bin/sh -c", "CLIENT shell nobody /bin/true",
	"CLIENT shell NAME relative/path",
	"CLIENT kill NAME --kill-whom=leader --signal=SIGCHLD", "CLIENT kill NAME --signal=SIGNOTHING", "CLIENT kill nobody",
	"CLIENT kill .host", "CLIENT terminate .host", "CLIENT terminate nobody", "CLIENT poweroff nobody", "CLIENT reboot nobody",
	"CLIENT start nobody", "CLIENT start bad_name", "CLIENT login nobody",
}

// others are the other programs that reach the guest through the daemon or its
// files.
var others = []string{
	"systemctl -M NAME is-system-running", "systemctl -M NAME is-active dbus.service", "systemctl -M NAME list-units --no-legend dbus.service",
	"systemctl -M nobody is-system-running", "systemctl list-machines --no-legend", "systemctl list-machines --no-legend NAME",
	"busctl -M NAME call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus NameHasOwner s org.freedesktop.systemd1",
	"busctl -M nobody list", "loginctl -M NAME list-users --no-legend", "hostnamectl -M NAME --static",
	"systemd-run -q -M NAME --wait /bin/true", "systemd-run -q -M NAME --wait /bin/false", "systemd-run -q -M NAME --wait -P /bin/hostname",
	"journalctl -M NAME -q -n 1 -o cat _COMM=nobody-logs-as-this", "journalctl -M nobody -n 1", "systemd-cgls -M nobody",
	"ps -o machine= -p LEADER", "getent hosts NAME",
}

// A record is what a command did, without what differs from run to run.
type record struct {
	Command string
	Outcome outcome
}

// TestMachdCannotBeToldFromStock runs the same commands under both daemons. That
// machd gives machines addresses is told by others.
func TestMachdCannotBeToldFromStock(t *testing.T) {
	installGuest(t, same)
	// Having a file of settings, systemd-nspawn says otherwise too early that it is
	// ready.
	must(t, os.WriteFile(filepath.Join(settings, same+".nspawn"), []byte("[Exec]\nNotifyReady=yes\n[X-Machd]\nNetwork=no\n"), 0o644))
	useStock(t)
	want := playStock(t)
	useMachd(t)
	for i, got := range playStock(t) {
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("(-systemd-machined +machd):\n%s", diff)
		}
	}
}

// playStock starts the guest, looks at it in every way and lets it go through a
// life.
func playStock(t *testing.T) []record {
	t.Helper()
	w := watch(t)
	var all []record
	play := func(command string) {
		t.Helper()
		argv := strings.Fields(strings.NewReplacer("CLIENT", "machinectl --no-pager", "NAME", same).Replace(command))
		switch {
		case strings.HasSuffix(command, "sh -c"):
			argv = append(argv, "echo $WORD; exit 3")
		case strings.HasSuffix(command, "LEADER"):
			argv[len(argv)-1] = fmt.Sprint(w.properties(t, same)["Leader"])
		}
		o := observe(t, argv...)
		all = append(all, record{command, outcome{Code: o.Code, Stdout: normal(o.Stdout), Stderr: normal(o.Stderr)}})
		if text, ok := deliberate[command]; ok {
			// Only that it fails is the same.
			all[len(all)-1].Outcome.Stderr = text
		}
	}
	play("CLIENT start NAME")
	w.await(t, "MachineNew", same)
	play("CLIENT start NAME")
	for _, command := range lookers {
		play(command)
	}
	for _, command := range others {
		play(command)
	}

	leader := w.properties(t, same)["Leader"]
	play("CLIENT reboot NAME")
	w.await(t, "MachineRemoved", same)
	w.await(t, "MachineNew", same)
	eventually(t, "it is up again", unitIs(t, serviceOf(same), "active"))
	if now := w.properties(t, same)["Leader"]; now == leader {
		t.Errorf("the leader is still %v", now)
	}
	play("CLIENT show NAME -p State")
	play("CLIENT poweroff NAME")
	w.await(t, "MachineRemoved", same)
	eventually(t, "it is off", unitIs(t, serviceOf(same), "inactive"))
	play("CLIENT show NAME")
	play("CLIENT start NAME")
	w.await(t, "MachineNew", same)
	play("CLIENT terminate NAME")
	w.await(t, "MachineRemoved", same)
	eventually(t, "it is gone", unitIs(t, serviceOf(same), "inactive"))
	play("CLIENT list")
	return all
}

// deliberate are the commands whose error is worded better by machd.
var deliberate = map[string]string{
	"CLIENT kill .host":      "The host cannot be killed as a machine",
	"CLIENT terminate .host": "The host cannot be terminated as a machine",
}

// normal takes out what differs from run to run: times, processes, ids.
func normal(text string) string {
	for _, n := range normals {
		text = n.from.ReplaceAllString(text, n.to)
	}
	return text
}

var normals = []struct {
	from *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+`), "TIME"},
	{regexp.MustCompile(`; [^;\n]*( ago|left)`), "; AGO"},
	{regexp.MustCompile(`(?m)^(\s*)TimestampMonotonic=\d+`), "${1}TimestampMonotonic=N"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`(?m)^(\s*(?:Leader|Supervisor|Superv\.|LeaderPIDFDId|SupervisorPIDFDId)[:=]\s*)\d+`), "${1}N"},
	{regexp.MustCompile(`(?m)^\d+\n`), "N\n"},
	{regexp.MustCompile(`([├└]─)\s*\d+`), "${1}PID"},
	{regexp.MustCompile(`NetworkInterfaces=\d+`), "NetworkInterfaces=N"},
	{regexp.MustCompile(`run-[pu0-9]+-?i?\d*`), "run-N"},
	{regexp.MustCompile(`\x1b\[[0-9;]*m`), ""},
	// Properties of 258 and later, which machd has on 257 too.
	{regexp.MustCompile(`(?m)^(Subgroup|UID|(Leader|Supervisor)PIDFDId|Supervisor)=.*\n`), ""},
}
