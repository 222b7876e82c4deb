package booted

import (
	"strings"
	"testing"
)

func TestGuestLogin(t *testing.T) {
	t.Parallel()
	const name = "guest-login"
	startGuest(t, name)
	login := openTerminal(t, "machinectl", "login", name)
	for _, round := range []struct{ wanted, answer string }{
		{`Connected to machine ` + name + `\.`, ""},
		{`login: `, "root\n"},
		{`Password: `, "c8\n"},
		{`root@\S+:~# `, "echo $((6 * 7)) on $(hostname)\n"},
		{`\n42 on \S+\n`, ""},
		{`root@\S+:~# `, "\x1d\x1d\x1d"},
	} {
		_, err := login.Expect(round.wanted)
		must(t, err)
		must(t, login.Type(round.answer))
	}
	must(t, login.Wait())
}

func TestGuestShell(t *testing.T) {
	t.Parallel()
	const name = "guest-shell"
	startGuest(t, name)
	shell := openTerminal(t, "machinectl", "shell", name, "/bin/sh", "-c", "id -un; tty; hostname")
	_, err := shell.Expect(`\nroot\n/dev/pts/\d+\n` + name + `\n`)
	must(t, err)
	must(t, shell.Wait())
}

// The template starts guests with -U: their files and terminals belong to IDs
// that mean nothing on the host.
func TestGuestHasIDsOfItsOwn(t *testing.T) {
	t.Parallel()
	const name = "guest-ids"
	startGuest(t, name)
	var shift uint32
	w := watch(t)
	must(t, w.call(t, "GetMachineUIDShift", []any{name}, &shift))
	if shift == 0 || shift&0xffff != 0 {
		t.Errorf("the guest's IDs begin at %d", shift)
	}
	var osRelease map[string]string
	must(t, w.call(t, "GetMachineOSRelease", []any{name}, &osRelease))
	if got := osRelease["ID"]; got != "debian" {
		t.Errorf("the guest's OS is %q", got)
	}
}

func TestGuestPowersOff(t *testing.T) {
	t.Parallel()
	const name = "guest-off"
	w := watch(t)
	startGuest(t, name)
	w.await(t, "MachineNew", name)
	run(t, "machinectl", "poweroff", name)
	w.await(t, "MachineRemoved", name)
}

func TestGuestIsReachedByStockClients(t *testing.T) {
	t.Parallel()
	const name = "guest-bus"
	startGuest(t, name)
	if got := run(t, "systemctl", "-M", name, "is-active", "dbus.service"); got != "active" {
		t.Errorf("systemctl -M says %q", got)
	}
	if got := run(t, "systemd-run", "-q", "--wait", "-P", "-M", name, "hostname"); got != name {
		t.Errorf("systemd-run -M says %q", got)
	}
	if got := run(t, "machinectl", "status", "--no-pager", name); !strings.Contains(got, "Unit: systemd-nspawn@"+name+".service") {
		t.Errorf("machinectl status says:\n%s", got)
	}
}
