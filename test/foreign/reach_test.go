package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// TestSSH reaches sshd in a guest by systemd's socket, and by the machine's
// name: systemd's proxy asks the daemons for it, the user's own one first.
func TestSSH(t *testing.T) {
	t.Parallel()
	const name = "by-ssh"
	key := filepath.Join(t.TempDir(), "key")
	live.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	startGuest(t, name)
	public, err := os.ReadFile(key + ".pub")
	live.Must(t, err)
	// Written by the guest, whose files have owners of its own.
	live.Run(t, "systemd-run", "-q", "-M", name, "--wait", "sh", "-c",
		"mkdir -pm 700 /root/.ssh && echo '"+strings.TrimSpace(string(public))+"' >/root/.ssh/authorized_keys")

	socket := "/run/systemd/nspawn/unix-export/NAME/ssh"
	if live.Host.Version >= 262 {
		socket = "/run/systemd/nspawn/NAME/unix-export/ssh"
	}
	reached := []visit{{"SSH -i KEY unix" + socket + " hostname", 0, `(?m)^NAME$`}}
	if live.Host.Version >= 262 {
		// Root's own service manager would end with the last of the sessions that
		// other tests have, if root did not linger.
		const own = "env XDG_RUNTIME_DIR=/run/user/0 "
		t.Cleanup(func() { live.Run(t, "loginctl", "disable-linger", "root") })
		reached = append(reached,
			visit{"loginctl enable-linger root", 0, `^$`},
			visit{"systemctl start user@0.service", 0, `^$`},
			visit{own + "systemctl --user start systemd-machined.socket", 0, `^$`},
			visit{own + "SSH -i KEY machine/NAME hostname", 0, `(?m)^NAME$`},
			visit{own + "SSH -i KEY machine%NAME hostname", 0, `(?m)^NAME$`})
	} else {
		// It knows virtual machines only.
		reached = append(reached, visit{"SSH -i KEY machine/NAME hostname", 255, `Machine has no AF_VSOCK CID assigned`})
	}
	reached = append(reached, visit{"SSH -i KEY machine/nobody hostname", 255, ``})
	makeVisits(t, strings.NewReplacer("NAME", name, "KEY", key), reached)
}

// TestNames looks a guest up by name, with its address on the link to the host.
func TestNames(t *testing.T) {
	t.Parallel()
	const name = "by-name"
	startGuest(t, name)
	startResolved(t)
	resolved := visit{"resolvectl query NAME", 0, `^NAME: 10\.77\.0\.2`}
	if live.Host.Version < 262 {
		resolved.code, resolved.output = 1, `resolve call failed|not found` // it does not ask the daemon
	}
	makeVisits(t, strings.NewReplacer("NAME", name), []visit{
		{"systemd-run -q -M NAME --wait ip addr add 10.77.0.2/24 dev host0", 0, `^$`},
		{"systemd-run -q -M NAME --wait ip link set host0 up", 0, `^$`},
		{"ip addr add 10.77.0.1/24 dev ve-NAME", 0, `^$`},
		{"ip link set ve-NAME up", 0, `^$`},
		resolved,
		{"resolvectl query nobody", 1, `resolve call failed|not found`},
		{"getent ahostsv4 NAME", 0, `^10\.77\.0\.2 +STREAM NAME\n`},
		{"getent ahostsv4 nobody", 2, `^$`},
		{"ping -c 1 -W 5 NAME", 0, ` 0% packet loss`},
		{"machinectl list --no-legend", 0, `(?m)^NAME .* 10\.77\.0\.2`},
	})
}

// TestTransfers has systemd-importd work on the images that the daemon shows.
func TestTransfers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	live.Must(t, os.MkdirAll(filepath.Join(tree, "etc"), 0o755))
	live.Must(t, os.WriteFile(filepath.Join(tree, "etc/os-release"), []byte("ID=moved\n"), 0o644))
	live.Run(t, "tar", "cf", filepath.Join(dir, "in.tar"), "-C", tree, ".")
	t.Cleanup(func() { live.Observe(t, "machinectl", "remove", "moved", "moved-too", "moved-fs") })
	makeVisits(t, strings.NewReplacer("DIR", dir), []visit{
		{"machinectl import-tar DIR/in.tar moved", 0, `Operation completed successfully`},
		{"importctl -m import-tar DIR/in.tar moved", 1, `already exists`},
		{"importctl -m --force import-tar DIR/in.tar moved", 0, `Operation completed successfully`},
		{"machinectl image-status moved", 0, `Type: directory`},
		{"machinectl show-image moved -P Type", 0, `^directory\n$`},
		{"importctl -m import-tar DIR/in.tar moved-too", 0, `Operation completed successfully`},
		{"machinectl import-fs DIR/tree moved-fs", 0, `successfully installed`},
		{"machinectl list-images --no-legend", 0, `(?s)^.*moved +directory.*moved-fs +directory.*moved-too +directory`},
		{"machinectl export-tar moved DIR/out.tar", 0, `Operation completed successfully`},
		{"tar tf DIR/out.tar", 0, `\./etc/os-release\n`},
		{"importctl -m export-tar nobody DIR/none.tar", 1, `not found|does not exist|No image`},
		{"machinectl list-transfers", 0, `No transfers\.`},
		{"importctl list-transfers --json=short", 0, `^(\[\])?\n?$`},
		{"machinectl pull-tar --verify=no http://127.0.0.1:1/x.tar none", 1, `Transfer failed|Failed to allocate puller`},
		{"machinectl remove moved moved-too moved-fs", 0, `^$`},
		{"machinectl show-image moved", 1, `No image 'moved' known`},
	})
}

// TestBinds gives a guest without IDs of its own what is the host's.
func TestBinds(t *testing.T) {
	t.Parallel()
	const name, private = "bound", "not-bound"
	startGuest(t, name, "PrivateUsers=no")
	startGuest(t, private)
	dir := t.TempDir()
	live.Must(t, os.Chmod(dir, 0o755))
	live.Must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644))
	makeVisits(t, strings.NewReplacer("NAME", name, "PRIVATE", private, "DIR", dir), []visit{
		{"machinectl bind NAME DIR /mnt", 0, `^$`},
		{"systemd-run -q -M NAME --wait -P cat /mnt/file", 0, `of the host`},
		{"systemd-run -q -M NAME --wait -P touch /mnt/written", 0, ``},
		{"ls DIR", 0, `written`},
		{"machinectl bind --read-only --mkdir NAME DIR /srv/deep/down", 0, `^$`},
		{"systemd-run -q -M NAME --wait -P touch /srv/deep/down/written-too", 1, `Read-only file system`},
		{"machinectl bind NAME DIR /no/such/place", 1, `Failed to bind mount: `},
		{"machinectl bind NAME DIR/nothing /mnt", 1, `Failed to bind mount: `},
		{"machinectl bind PRIVATE DIR /mnt", 1, `Can't bind mount on container with user namespacing applied`},
		{"machinectl bind nobody DIR /mnt", 1, `No machine 'nobody' known`},
		{"machinectl copy-to NAME DIR /root/tree", 0, `^$`},
		{"machinectl copy-from NAME /root/tree DIR/back", 0, `^$`},
		{"diff -r DIR/file DIR/back/file", 0, `^$`},
		{"machinectl copy-to PRIVATE DIR/file /root/file", 0, `^$`},
		{"machinectl copy-to --force PRIVATE DIR/file /root/file", 0, `^$`},
		{"systemd-run -q -M PRIVATE --wait -P stat -c %u:%g /root/file", 0, `^0:0`},
		{"machinectl copy-from PRIVATE /nothing DIR/nothing", 1, `Failed to copy: `},
	})
}
