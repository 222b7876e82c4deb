package auth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// The test binary is also the user whom the real polkit is asked about.
func TestMain(m *testing.M) {
	if address := os.Getenv(clientVariable); address != "" {
		if err := runClient(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// clientVariable has the address of the socket that a client connects to.
const clientVariable = "MACHD_TEST_CLIENT"

// runClient connects to a socket and to the bus, says its name on the bus, and
// stays until its standard input ends.
func runClient(address string) error {
	peer, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	defer peer.Close()
	conn, err := bus.Dial(context.Background(), bus.SystemAddress())
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println(conn.Names()[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A client is a process of another user's, as each of the ways shows it.
type client struct {
	pid    int
	uid    uint32
	onBus  auth.Caller
	onPeer auth.Caller
}

func startClient(t *testing.T, a *auth.Authority, name string) client {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Skipf("needs the user %s", name)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@machd-auth-" + strconv.Itoa(os.Getpid()), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), clientVariable+"="+listener.Addr().String())
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })

	c := client{pid: cmd.Process.Pid, uid: uint32(uid)}
	peer, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	if c.onPeer, err = auth.PeerCaller(peer); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.onPeer.Close)
	sender, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if c.onBus, err = a.BusCaller(t.Context(), strings.TrimSpace(sender)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.onBus.Close)
	return c
}

const rulesFile = "/etc/polkit-1/rules.d/10-machd-test.rules"

// rules lets alice open a shell in one machine.
const rules = `polkit.addRule(function(action, subject) {
	if (action.id == "org.freedesktop.machine1.shell" && subject.user == "alice" &&
	    action.lookup("machine") == "c8-ns")
		return polkit.Result.YES;
});
`

func TestTheRealPolkit(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root on a booted systemd")
	}
	if err := os.WriteFile(rulesFile, []byte(rules), 0o644); err != nil {
		t.Skipf("needs polkit: %v", err)
	}
	t.Cleanup(func() { os.Remove(rulesFile) })
	if out, err := exec.Command("systemctl", "restart", "polkit.service").CombinedOutput(); err != nil {
		t.Skipf("needs polkit: %v: %s", err, out)
	}
	conn, err := bus.Dial(t.Context(), bus.SystemAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := auth.New(conn, slog.New(slog.NewTextHandler(t.Output(), nil)))
	c := startClient(t, a, "alice")

	shell := auth.Request{Action: machine1.ActionShell, Details: map[string]string{"machine": "c8-ns"}}
	otherShell := auth.Request{Action: machine1.ActionShell, Details: map[string]string{"machine": "other"}}
	asking := otherShell
	asking.Interactive = true
	for way, caller := range map[string]auth.Caller{"bus": c.onBus, "peer": c.onPeer} {
		if caller.UID != c.uid || caller.PIDFD.PID() != c.pid {
			t.Errorf("%s: the caller is user %d, process %d, want %d, %d", way, caller.UID, caller.PIDFD.PID(), c.uid, c.pid)
		}
		for name, check := range map[string]struct {
			request auth.Request
			want    error
		}{
			"a rule allows it":        {shell, nil},
			"a password would help":   {otherShell, machine1.ErrInteractionRequired},
			"nobody asks for it":      {asking, machine1.ErrInteractionRequired},
			"there is no such action": {auth.Request{Action: "org.example.nothing"}, machine1.ErrAccessDenied},
			"it is the user's own":    {auth.Request{Action: machine1.ActionShell, Owner: &c.uid}, nil},
			"details do not matter":   {auth.Request{Action: machine1.ActionLogin}, machine1.ErrInteractionRequired},
		} {
			_, err := a.Check(t.Context(), caller, check.request)
			if !errors.Is(err, check.want) || (check.want == nil) != (err == nil) {
				t.Errorf("%s: %s: %v, want %v", way, name, err, check.want)
			} else if err != nil {
				t.Log(err)
			}
		}
	}
}
