package booted

import (
	"os/exec"
	"strings"
	"testing"
)

// asAlice calls a method of the Manager as a user without rights.
func asAlice(t *testing.T, argv ...string) string {
	t.Helper()
	call := append([]string{"runuser", "-u", "alice", "--", "busctl", "call", "--", "org.freedesktop.machine1",
		"/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"}, argv...)
	out, err := exec.CommandContext(t.Context(), call[0], call[1:]...).CombinedOutput()
	if err == nil {
		t.Fatalf("alice may call %q", argv)
	}
	return strings.TrimSpace(string(out))
}

func TestUsersMayLookButNotTouch(t *testing.T) {
	t.Parallel()
	const name = "policy-user"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	run(t, "runuser", "-u", "alice", "--", "machinectl", "show", name)

	got := asAlice(t, "KillMachine", "ssi", name, "all", "15")
	if !strings.Contains(strings.ToLower(got), "interactive authentication") {
		t.Errorf("alice's KillMachine says %q", got)
	}
	if got := run(t, "systemctl", "is-active", p.unit); got != "active" {
		t.Errorf("the process's unit is %s", got)
	}
}

// The bus must let these through, so that the daemon can ask polkit: the
// policy of systemd 257 does not.
func TestMachdLetsUsersAsk(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{
		{"OpenMachinePTY", "s", "nobody-has-this"},
		{"OpenMachineRootDirectory", "s", "nobody-has-this"},
		{"GetMachineSSHInfo", "s", "nobody-has-this"},
		{"CopyFromMachineWithFlags", "ssst", "nobody-has-this", "/a", "/b", "0"},
		{"CopyToMachineWithFlags", "ssst", "nobody-has-this", "/a", "/b", "0"},
	} {
		if got := asAlice(t, argv...); strings.Contains(got, "Access denied") {
			t.Errorf("%s says %q", argv[0], got)
		}
	}
}

func TestMachdPolkitKnowsEveryAction(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"register-machine": "yes", "inspect-machines": "auth_admin_keep", "inspect-images": "auth_admin_keep",
		"manage-machines": "auth_admin_keep", "host-login": "yes",
	}
	for action, active := range want {
		got := run(t, "pkaction", "--verbose", "--action-id", "org.freedesktop.machine1."+action)
		if !strings.Contains(strings.Join(strings.Fields(got), " "), "implicit active: "+active) {
			t.Errorf("%s is\n%s\nwant %q for an active user", action, got, active)
		}
	}
}
