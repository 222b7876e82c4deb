package booted

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// Commands of a virtual machine are run by ssh. What matters is that there is an
// ssh server at the address that was registered: here it is a container's.
func TestMachdExecInVirtualMachine(t *testing.T) {
	t.Parallel()
	const guest, name = "cmd-vm-system", "cmd-vm"
	key := filepath.Join(t.TempDir(), "key")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	installGuest(t, guest)
	keys := filepath.Join(guests, guest, "root/.ssh")
	must(t, os.MkdirAll(keys, 0o700))
	public, err := os.ReadFile(key + ".pub")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(keys, "authorized_keys"), public, 0o600))
	run(t, "machinectl", "start", guest)

	export := "/run/systemd/nspawn/unix-export/" + guest + "/ssh"
	if _, err := os.Stat(export); err != nil {
		export = "/run/systemd/nspawn/" + guest + "/unix-export/ssh"
	}
	w := watch(t)
	registerVM(t, w, name, "unix"+export, key)
	failed := func(status int, stdout string) execution {
		e := exited(status)
		e.Stdout = stdout
		return e
	}
	for _, test := range []struct {
		what    string
		command client.ExecCommand
		want    execution
	}{
		{"a status", sh("hostname; exit 7"), failed(7, guest+"\n")},
		{"arguments", client.ExecCommand{Args: []string{"printf", "<%s>", "$$", "a  b", "", "'", "\"", "\\", "*", "é"}}, said(`<$$><a  b><><'><"><\><*><é>`)},
		{"a directory and an environment", client.ExecCommand{Args: []string{"sh", "-c", `pwd; echo "$A"`}, Dir: "/usr/bin", Env: []string{"A=it's  $B"}}, said("/usr/bin\nit's  $B\n")},
		{"no such program", client.ExecCommand{Args: []string{"/no/such"}}, failed(127, "")},
		{"no program", client.ExecCommand{Args: []string{"/etc/passwd"}}, failed(126, "")},
	} {
		got, err := execIn(t, name, test.command)
		must(t, err)
		if test.want.Outcome.Exit != nil && *test.want.Outcome.Exit >= 126 {
			got.Stderr = ""
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
	wantBytesPassedOn(t, name)
	command := sh("tty; exit 3")
	command.Terminal = true
	o, err := hold(t, name, command).Wait(t.Context())
	must(t, err)
	if o.Exit == nil || *o.Exit != 3 {
		t.Errorf("on a terminal it ended with %+v", o)
	}
	// Without a way in that is said.
	registerVM(t, w, name+"-no", "", "")
	if _, err := execIn(t, name+"-no", sh("true")); err == nil || !strings.Contains(err.Error(), "without a way in by ssh") {
		t.Errorf("got %v", err)
	}
}

func registerVM(t *testing.T, w *watcher, name, address, key string) {
	t.Helper()
	list := []machine1.Property{
		{Name: "Class", Value: dbus.MakeVariant("vm")},
		{Name: "LeaderPIDFD", Value: dbus.MakeVariant(pidfdOf(t, startProcess(t, name).pid))},
	}
	if address != "" {
		list = append(list, machine1.Property{Name: "SSHAddress", Value: dbus.MakeVariant(address)},
			machine1.Property{Name: "SSHPrivateKeyPath", Value: dbus.MakeVariant(key)})
	}
	must(t, w.call(t, "RegisterMachineEx", []any{name, list}))
	w.await(t, "MachineNew", name)
}
