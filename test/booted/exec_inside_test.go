package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// bareKinds are machines without a service manager: systemd-nspawn's options.
var bareKinds = map[string][]string{
	"ids":     nil,
	"own-ids": {"--private-users=pick"},
	"less":    {"--drop-capability=CAP_CHOWN,CAP_NET_RAW", "--no-new-privileges=yes", "--rlimit=RLIMIT_NOFILE=77:99"},
}

// forBare runs a test in each kind of machine without a service manager.
func forBare(t *testing.T, prefix string, test func(t *testing.T, name string)) {
	for kind, options := range bareKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			name := prefix + "-" + kind
			startByHand(t, watch(t), name, options...)
			test(t, name)
		})
	}
}

// A command that enters a machine is one of its processes: where the leader is,
// it is, and it may no more.
func TestMachdExecIsLikeTheLeader(t *testing.T) {
	t.Parallel()
	forBare(t, "cmd-like", func(t *testing.T, name string) {
		leader := run(t, "machinectl", "show", name, "-P", "Leader")
		said := func(argv ...string) string {
			t.Helper()
			got, err := execIn(t, name, client.ExecCommand{Args: argv, Dir: "/"})
			must(t, err)
			if got.Outcome.Exit == nil || *got.Outcome.Exit != 0 || got.Stderr != "" {
				t.Fatalf("%q: %+v", argv, got)
			}
			return got.Stdout
		}
		status := said("cat", "/proc/self/status")
		theirs, err := os.ReadFile("/proc/" + leader + "/status")
		must(t, err)
		// A leader that systemd-nspawn still sets up may more than it will.
		if got := fieldOf(string(theirs), "Name"); got != "sleep" {
			t.Errorf("a command ran while the leader was still %s", got)
		}
		for _, key := range []string{"CapBnd", "CapPrm", "CapEff", "NoNewPrivs"} {
			if got, want := fieldOf(status, key), fieldOf(string(theirs), key); got != want {
				t.Errorf("%s is %s, the leader's %s", key, got, want)
			}
		}
		for key, want := range map[string]string{
			"CapInh": "0000000000000000", "CapAmb": "0000000000000000", "SigBlk": "0000000000000000", "SigIgn": "0000000000000000",
			"Uid": "0\t0\t0\t0", "Gid": "0\t0\t0\t0", "Groups": "", "Umask": "0022",
		} {
			if got := fieldOf(status, key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		limits, err := os.ReadFile("/proc/" + leader + "/limits")
		must(t, err)
		if got := said("cat", "/proc/self/limits"); got != string(limits) {
			t.Errorf("its limits are\n%sthe leader's\n%s", got, limits)
		}
		for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
			want, err := os.Readlink("/proc/" + leader + "/ns/" + ns)
			must(t, err)
			if got := strings.TrimSpace(said("readlink", "/proc/self/ns/"+ns)); got != want {
				t.Errorf("its %s namespace is %s, the leader's %s", ns, got, want)
			}
		}
		var root syscall.Stat_t
		must(t, syscall.Stat("/proc/"+leader+"/root", &root))
		want := fmt.Sprintf("%d\n", root.Ino)
		for _, path := range []string{"/", "/proc/self/root/", "/proc/self/cwd/", "/.."} {
			if got := said("stat", "-c", "%i", path); got != want {
				t.Errorf("%s has the inode %s, the machine's root %s", path, got, want)
			}
		}
		// The last one is what lists them.
		if got := said("ls", "/proc/self/fd"); got != "0\n1\n2\n3\n" {
			t.Errorf("its descriptors are %q", got)
		}
		want = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\nUSER=root\nLOGNAME=root\nSHELL=/bin/sh\n"
		if got := said("env"); got != want {
			t.Errorf("its environment is\n%s", got)
		}
	})
}

func fieldOf(status, key string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Trim(value, "\t \n")
		}
	}
	return "none"
}

// Limits of the machine hold for its commands, as they are in a cgroup below it,
// which goes with them.
func TestMachdExecIsInTheMachinesCgroup(t *testing.T) {
	t.Parallel()
	forBare(t, "cmd-cgroup", func(t *testing.T, name string) {
		leader := run(t, "machinectl", "show", name, "-P", "Leader")
		x := hold(t, name, sh("sleep 6000 & sleep 6000"))
		above := cgroupOf(t, leader) // where systemd-nspawn 257 puts it once it is registered
		inside := regexp.MustCompile("^" + regexp.QuoteMeta(above) + "/machd-exec-[0-9a-f]+$")
		path := ""
		eventually(t, "it runs in a cgroup of its own", func() error {
			dirs, err := os.ReadDir("/sys/fs/cgroup" + above)
			must(t, err)
			for _, dir := range dirs {
				if strings.HasPrefix(dir.Name(), "machd-exec-") {
					path = filepath.Join("/sys/fs/cgroup", above, dir.Name())
				}
			}
			procs, err := os.ReadFile(path + "/cgroup.procs")
			if err != nil {
				return err
			}
			pids := strings.Fields(string(procs))
			if len(pids) != 2 {
				return fmt.Errorf("%d processes are in it", len(pids))
			}
			for _, pid := range pids {
				// The shell itself becomes the second sleep, and forks before.
				if got, err := cgroupAt(pid); err != nil || !inside.MatchString(got) {
					return fmt.Errorf("process %s is in %q: %w", pid, got, err)
				}
			}
			return nil
		})
		x.Close()
		eventually(t, "the cgroup and its record have gone", func() error {
			for _, path := range []string{path, filepath.Join("/run/machd/entered", filepath.Base(path))} {
				if _, err := os.Stat(path); !os.IsNotExist(err) {
					return fmt.Errorf("%s is there: %v", path, err)
				}
			}
			return nil
		})
	})
}

func cgroupOf(t *testing.T, pid string) string {
	t.Helper()
	path, err := cgroupAt(pid)
	must(t, err)
	return path
}

// cgroupAt fails for a process that has gone.
func cgroupAt(pid string) (string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", fmt.Errorf("process %s is in no unified hierarchy:\n%s", pid, text)
}

// hold runs a command, and returns when it has begun. It ends with the test.
func hold(t *testing.T, name string, command client.ExecCommand) *client.Execution {
	t.Helper()
	c, err := client.Connect(t.Context())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	x, err := c.Exec(t.Context(), name, command)
	must(t, err)
	t.Cleanup(func() { x.Close() })
	return x
}

// A terminal is the command's own: it knows its name, and keys become signals.
func TestMachdExecOnTerminal(t *testing.T) {
	t.Parallel()
	const systemd, bare = "cmd-tty", "cmd-tty-bare"
	startGuest(t, systemd)
	startByHand(t, watch(t), bare, "--private-users=pick")
	for _, name := range []string{systemd, bare} {
		for _, login := range []bool{false, true} {
			command := sh("tty; echo ready; exec sleep 100") // dash that forks at this moment would be deaf to the key
			command.Terminal, command.Login = true, login
			x := hold(t, name, command)
			seen := ""
			for !strings.Contains(seen, "ready") {
				x.Terminal.SetReadDeadline(time.Now().Add(patience))
				chunk := make([]byte, 1024)
				n, err := x.Terminal.Read(chunk)
				seen += string(chunk[:n])
				if err != nil {
					t.Fatalf("%s: %q, and then %v", name, seen, err)
				}
			}
			if !regexp.MustCompile(`/dev/pts/\d+\r\n`).MatchString(seen) {
				t.Errorf("%s: the terminal shows %q", name, seen)
			}
			_, err := x.Terminal.WriteString("\x03")
			must(t, err)
			o, err := x.Wait(t.Context())
			must(t, err)
			if o.Signal != int(syscall.SIGINT) && (o.Exit == nil || *o.Exit != 130) {
				t.Errorf("%s: after the key it ended with %+v", name, o)
			}
		}
	}
	// A login without a command is the user's shell.
	x := hold(t, bare, client.ExecCommand{Terminal: true, Login: true})
	_, err := x.Terminal.WriteString("echo $0; exit 4\n")
	must(t, err)
	o, err := x.Wait(t.Context())
	must(t, err)
	if o.Exit == nil || *o.Exit != 4 {
		t.Errorf("the shell ended with %+v", o)
	}
}

// Whoever has not been granted it runs nothing.
func TestMachdExecNeedsTheRight(t *testing.T) {
	t.Parallel()
	const name = "cmd-right"
	startByHand(t, watch(t), name)
	o := observeAs(t, "alice", "machctl", "--no-ask-password", "exec", name, "--", "id")
	if o.Code != 125 || o.Stdout != "" {
		t.Errorf("alice: %+v", o)
	}
}

// Who may register a process of his own gets nothing by running commands in it:
// neither on the host, nor beside that process without what confines it.
func TestMachdExecOfOwnerWhoIsNotRoot(t *testing.T) {
	setRules(t, aliceMayRegister)
	alice := dialAs(t, "alice")
	credential, _ := credentialOf(t, "alice")
	for name, flags := range map[string]uintptr{"cmd-owner": 0, "cmd-owner-ids": syscall.CLONE_NEWUSER} {
		cmd := exec.Command("sleep", "infinity")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Cloneflags: flags}
		if flags != 0 {
			cmd.SysProcAttr.Credential = nil
			cmd = exec.Command("setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec sleep infinity")
		}
		must(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		eventually(t, "it sleeps", func() error {
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); err != nil || string(comm) != "sleep\n" {
				return fmt.Errorf("it is %q", comm)
			}
			return nil
		})
		must(t, registerAs(t, alice, name, uint32(cmd.Process.Pid)))
		mark := filepath.Join(t.TempDir(), "mark")
		object := alice.Object(machine1.BusName, machine1.ObjectPath)
		err := machine1.FromBus(object.Call("org.machd.Manager1.Exec", 0, name, []string{"touch", mark},
			[]struct{ FD dbus.UnixFD }{}, map[string]dbus.Variant{}).Err)
		if !errors.Is(err, machine1.ErrAccessDenied) || !strings.Contains(err.Error(), "Only root") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(mark); err == nil {
			t.Errorf("%s: the command ran", name)
		}
	}
}
