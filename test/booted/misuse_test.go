package booted

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// Exit codes of machctl, as "machctl help exit-codes" has them.
const (
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 7
)

// verbs are the command lines that need the daemon, for the machine NAME.
var verbs = []string{"list", "status NAME", "show NAME", "stop NAME", "reboot NAME", "kill NAME", "terminate NAME", "shell NAME /bin/true",
	"list-images", "start tiny"}

// wantExits runs machctl with each verb and wants the same exit code from all,
// soon, and words that say what is wrong.
func wantExits(t *testing.T, user string, command []string, verbs []string, code int, words string) {
	t.Helper()
	for _, verb := range verbs {
		start := time.Now()
		o := observeAs(t, user, append(command, strings.Fields(verb)...)...)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("machctl %s took %s", verb, took)
		}
		want := code
		if strings.HasPrefix(verb, "shell ") {
			want = 125 // any other is the command's own
		}
		if o.Code != want || !strings.Contains(strings.ToLower(o.Stderr), words) || strings.Contains(o.Stderr, "panic") {
			t.Errorf("machctl %s: %+v, want exit code %d and %q", verb, o, want, words)
		}
	}
}

func named(verbs []string, name string) []string {
	var out []string
	for _, verb := range verbs {
		out = append(out, strings.ReplaceAll(verb, "NAME", name))
	}
	return out
}

func TestMachdClientWithoutRights(t *testing.T) {
	t.Parallel()
	w := watch(t)
	register(t, w, "no-rights", startProcess(t, "no-rights"))
	denied := []string{"stop NAME", "reboot NAME", "kill NAME", "terminate NAME", "shell NAME /bin/true", "start tiny"}
	wantExits(t, "bob", []string{"machctl"}, named(denied, "no-rights"), exitDenied, "interactive authentication")
	wantExits(t, "bob", []string{"machctl", "--no-ask-password"}, named(denied, "no-rights"), exitDenied, "authentication")
	for _, verb := range named([]string{"list", "status NAME", "show NAME", "list-images"}, "no-rights") {
		if o := observeAs(t, "bob", append([]string{"machctl"}, strings.Fields(verb)...)...); o.Code != 0 {
			t.Errorf("machctl %s: %+v", verb, o)
		}
	}
	if err := w.call(t, "GetMachine", []any{"no-rights"}); err != nil {
		t.Error(err)
	}
}

func TestMachdClientWithoutBus(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"unix:path=/run/there-is-no-bus", "nonsense", "tcp:host=127.0.0.1,port=1"} {
		command := []string{"env", "DBUS_SYSTEM_BUS_ADDRESS=" + address, "machctl"}
		wantExits(t, "root", command, named(verbs, "nobody"), exitUnavailable, "cannot connect to the bus")
	}
}

func TestMachdClientOfNobody(t *testing.T) {
	t.Parallel()
	missing := []string{"status NAME", "show NAME", "stop NAME", "reboot NAME", "kill NAME", "terminate NAME", "shell NAME /bin/true",
		"start NAME"}
	wantExits(t, "root", []string{"machctl"}, named(missing, "nobody-has-this"), exitNotFound, "nobody-has-this")
}

// A daemon that cannot be started is told from a machine that is not there.
func TestMachdClientWithoutDaemon(t *testing.T) {
	run(t, "systemctl", "mask", "--runtime", "machd.service")
	t.Cleanup(func() {
		run(t, "systemctl", "unmask", "--runtime", "machd.service")
		run(t, "systemctl", "restart", "machd.socket", "machd.service")
		wantDaemon(t, machd)
	})
	run(t, "systemctl", "stop", "machd.service", "machd.socket")
	wantExits(t, "root", []string{"machctl"}, named(verbs, "nobody"), exitUnavailable, "")
	wantExits(t, "bob", []string{"machctl"}, []string{"list"}, exitUnavailable, "")
}

// Whoever asks while the daemon restarts waits a little longer, and sees all
// machines: PID 1 and the bus hold the question back, and the daemon answers
// none before it has found its machines again. systemd-machined 262 drops a
// question now and then.
func TestMachdRestartIsNotSeenInTheList(t *testing.T) {
	w := watch(t)
	register(t, w, "steady", startProcess(t, "steady"))
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for _, client := range clients() {
		askers.Go(func() {
			for asked := 0; ; asked++ {
				select {
				case <-stop:
					t.Logf("%s was asked %d times", client, asked)
					return
				default:
				}
				out, err := exec.Command(client, "--no-pager", "--no-legend", "list").CombinedOutput()
				if err != nil || !strings.HasPrefix(string(out), "steady ") {
					t.Errorf("%s: %v\n%s", client, err, out)
				}
			}
		})
	}
	for range 10 {
		observe(t, "systemctl", "reset-failed", theService)
		run(t, "systemctl", "restart", theService)
	}
	close(stop)
	askers.Wait()
}

// Not even one of many calls a millisecond is lost.
func TestMachdRestartLosesNoCall(t *testing.T) {
	w := watch(t)
	register(t, w, "busy", startProcess(t, "busy"))
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		conn := dial(t)
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var path string
				if err := call(t, conn, "GetMachine", []any{"busy"}, &path); err != nil {
					t.Errorf("a call failed: %v", err)
				}
				var rows []machine1.Address
				if err := call(t, conn, "GetMachineAddresses", []any{".host"}, &rows); err != nil {
					t.Errorf("a slow call failed: %v", err)
				}
			}
		})
	}
	for range 20 {
		run(t, "systemctl", "restart", theService)
	}
	close(stop)
	callers.Wait()
}

// A session is between the client and the kernel.
func TestSessionOutlivesTheDaemon(t *testing.T) {
	const name = "session"
	startGuest(t, name)
	for _, client := range clients() {
		login := openTerminal(t, client, "login", name)
		talk(t, login, [2]string{`login: `, "root\n"}, [2]string{`Password: `, ""})
		must(t, login.TypeHidden("c8\n"))
		talk(t, login, [2]string{`root@\S+:~# `, ""})
		shell := openTerminal(t, client, "shell", name)
		talk(t, shell, [2]string{`root@\S+:~# `, ""})

		observe(t, "systemctl", "reset-failed", theService)
		run(t, "systemctl", "restart", theService)
		for i, session := range []interface {
			Type(string) error
			Expect(string) (string, error)
			Wait() error
		}{login, shell} {
			must(t, session.Type("echo $((6 * 7)) on $(hostname)\n"))
			if _, err := session.Expect(`\n42 on ` + name + `\n`); err != nil {
				t.Fatalf("%s: %v", client, err)
			}
			must(t, session.Type([]string{"\x1d\x1d\x1d", "exit\n"}[i]))
			must(t, session.Wait())
		}
	}
}
