package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// farHost is what ssh calls this very host, seen from a network of its own: an
// sshd in a network namespace, whose sessions are on the host.
const farHost = "far"

const (
	farNamespace = "far-sshd"
	nearAddress  = "198.51.100.1"
	farAddress   = "198.51.100.2"
	farPort      = "2222"
)

// startFarHost starts the sshd until the test's end, for all users with one key,
// and for alice with a password. Programs that are hidden are none for who comes
// that way.
func startFarHost(t *testing.T, hidden ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, way := range []string{filepath.Dir(dir), dir} { // sshd looks as the user who comes
		must(t, os.Chmod(way, 0o755))
	}
	for _, key := range []string{"host", "user"} {
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	run(t, "sh", "-c", "echo alice:secret | chpasswd")
	linkFarHost(t)
	configureSSH(t, dir)

	must(t, os.MkdirAll("/run/sshd", 0o755))
	hide := ""
	for _, program := range hidden {
		if _, err := os.Stat(program); err == nil {
			hide += "mount --bind /dev/null " + program + "; "
		}
	}
	sshd := exec.Command("unshare", "-m", "--propagation=slave", "sh", "-euc", hide+`exec ip netns exec "$@"`, "sh", farNamespace,
		"/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", farPort, "-h", filepath.Join(dir, "host"),
		"-o", "AuthorizedKeysFile="+filepath.Join(dir, "user.pub"), "-o", "StrictModes=no", "-o", "PermitRootLogin=yes",
		"-o", "MaxStartups=100", "-o", "PidFile=none")
	said := &strings.Builder{}
	sshd.Stdout, sshd.Stderr = said, said
	must(t, sshd.Start())
	t.Cleanup(func() {
		_ = sshd.Process.Kill()
		_ = sshd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", said)
		}
	})
	eventually(t, "sshd answers", func() error {
		if got := observe(t, "ssh", farHost, "true"); got.Code != 0 {
			return fmt.Errorf("%s", got.Stderr)
		}
		return nil
	})
}

func linkFarHost(t *testing.T) {
	t.Helper()
	run(t, "ip", "netns", "add", farNamespace)
	t.Cleanup(func() {
		observe(t, "ip", "link", "delete", "far-near")
		run(t, "ip", "netns", "delete", farNamespace)
	})
	for _, line := range []string{
		"link add far-near type veth peer name far netns " + farNamespace,
		"addr add " + nearAddress + "/30 dev far-near", "link set far-near up",
		"-n " + farNamespace + " addr add " + farAddress + "/30 dev far", "-n " + farNamespace + " link set far up",
		"-n " + farNamespace + " link set lo up",
	} {
		run(t, append([]string{"ip"}, strings.Fields(line)...)...)
	}
}

// configureSSH tells root's ssh of the host, under two names.
func configureSSH(t *testing.T, dir string) {
	t.Helper()
	config := "/root/.ssh/config"
	must(t, os.MkdirAll(filepath.Dir(config), 0o700))
	text := fmt.Sprintf(`Host far far-password %[1]s
HostName %[1]s
Port %[2]s
UserKnownHostsFile %[3]s/known-%%n
LogLevel ERROR
Host far-password
PubkeyAuthentication no
StrictHostKeyChecking ask
Host *
IdentityFile %[3]s/user
StrictHostKeyChecking accept-new
`, farAddress, farPort, dir)
	must(t, os.WriteFile(config, []byte(text), 0o600))
	t.Cleanup(func() { os.Remove(config) })
}

// wantNoSSH fails if a connection, or what serves one, is still there.
func wantNoSSH(t *testing.T) {
	t.Helper()
	eventually(t, "no connection is left", func() error {
		if got := observe(t, "pgrep", "-x", "ssh|systemd-stdio-b"); got.Code != 1 {
			return fmt.Errorf("%s", observe(t, "ps", "-o", "pid,ppid,pgid,stat,wchan,pending,blocked,ignored,caught,args", "-p",
				strings.Join(strings.Fields(got.Stdout), ",")).Stdout)
		}
		return nil
	})
}

// slowly is how long a command through ssh may take here, on a busy machine.
const slowly = 20 * time.Second
