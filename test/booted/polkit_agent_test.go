package booted

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/test/live"
	"github.com/machd/machd/test/terminal"
)

const secret = "correct horse"

// An agent of the terminal's user asks for root's password.
func TestPolkitAsksForAPassword(t *testing.T) {
	w := watch(t)
	const name = "asked"
	register(t, w, name, startProcess(t, name))
	setRootsPassword(t)
	alice := startSession(t, "alice")
	for _, client := range clients() {
		term := openTerminal(t, alice.argv(client, "kill", "--signal=CONT", name)...)
		talk(t, term, [2]string{`AUTHENTICATING FOR org\.freedesktop\.machine1\.manage-machines`, ""}, [2]string{`Password: `, ""})
		must(t, term.TypeHidden(secret+"\n"))
		talk(t, term, [2]string{`AUTHENTICATION COMPLETE`, ""})
		must(t, term.Wait())
	}
	// A right one is not remembered for another process, and a wrong one refused.
	for _, client := range clients() {
		term := openTerminal(t, alice.argv(client, "terminate", name)...)
		talk(t, term, [2]string{`Password: `, ""})
		must(t, term.TypeHidden("wrong\n"))
		talk(t, term, [2]string{`(?i)(denied|not authorized|authentication (is )?required|AUTHENTICATION FAILED)`, ""})
		if err := term.Wait(); err == nil {
			t.Errorf("%s takes a wrong password", client)
		}
	}
	if err := w.call(t, "GetMachine", []any{name}); err != nil {
		t.Error(err)
	}
}

func setRootsPassword(t *testing.T) {
	t.Helper()
	before := strings.Split(run(t, "getent", "shadow", "root"), ":")[1]
	run(t, "sh", "-c", "echo 'root:"+secret+"' | chpasswd")
	t.Cleanup(func() { run(t, "usermod", "-p", before, "root") })
}

// askAlice opens a question to alice, who sits at her terminal and does not
// answer yet.
func askAlice(t *testing.T, name string) *terminal.Terminal {
	t.Helper()
	return startSession(t, "alice").ask(t, "machinectl", name)
}

// ask opens a question whether a machine may be ended.
func (s session) ask(t *testing.T, client, name string) *terminal.Terminal {
	t.Helper()
	term := openTerminal(t, s.argv(client, "terminate", name)...)
	talk(t, term, [2]string{`Password: `, ""})
	return term
}

// Whoever is asked may take his time; nobody else waits for him. machctl waits for
// longer than a bus usually does, machinectl gives up after 25 s.
func TestPolkitAgentThatIsSlow(t *testing.T) {
	const name = "slowly"
	client, thinking := "machinectl", 10*time.Second
	if live.Host.Machd {
		client, thinking = "machctl", 27*time.Second
	}
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	other := startProcess(t, "slowly-other")
	setRootsPassword(t)
	term := startSession(t, "alice").ask(t, client, name)

	conns := []*dbus.Conn{w.conn, dialAs(t, "alice"), dialAs(t, "bob")}
	answer := time.After(thinking)
	for round := 0; ; round++ {
		start := time.Now()
		for _, conn := range conns {
			must(t, call(t, conn, "GetMachine", []any{name}))
			must(t, call(t, conn, "ListImages", nil))
		}
		if err := call(t, conns[2], "KillMachine", []any{name, "leader", int32(18)}); !refused(err) {
			t.Errorf("bob's kill: %v", err)
		}
		must(t, w.call(t, "KillMachine", []any{name, "leader", int32(18)}))
		register(t, w, "slowly-other", other)
		must(t, w.call(t, "UnregisterMachine", []any{"slowly-other"}))
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("round %d took %s", round, took)
		}
		select {
		case <-answer:
			must(t, term.TypeHidden(secret+"\n"))
			talk(t, term, [2]string{`AUTHENTICATION COMPLETE`, ""})
			must(t, term.Wait())
			w.await(t, "MachineRemoved", name)
			return
		case <-time.After(thinking / 50):
		}
	}
}

// Without whoever asks there is no answer but no, and it comes at once.
func TestPolkitAgentThatDies(t *testing.T) {
	const name = "unasked"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	term := askAlice(t, name)
	start := time.Now()
	kill(t, processOf(t, "alice", "pkttyagent"))
	talk(t, term, [2]string{`(?i)(denied|not authorized|authentication (is )?required)`, ""})
	if err := term.Wait(); err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	must(t, w.call(t, "GetMachine", []any{name}))
}

// A question that nobody waits for any more is taken back, and its answer would
// change nothing.
func TestMachdTakesQuestionsBack(t *testing.T) {
	const name = "left-alone"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	seen := eavesdrop(t, "member='CancelCheckAuthorization'")
	daemon := pid(t)
	before := descriptors(t, daemon)
	askAlice(t, name)
	// It would end with the client, and take the question with it.
	agent := processOf(t, "alice", "pkttyagent")
	run(t, "kill", "-STOP", agent)
	kill(t, processOf(t, "alice", "machinectl"))
	select {
	case m := <-seen:
		if cookie, _ := m.Body[0].(string); !strings.HasPrefix(cookie, "machd-") {
			t.Errorf("it takes back %q", cookie)
		}
	case <-time.After(patience):
		t.Error("the question stays open")
	}
	kill(t, agent)
	must(t, w.call(t, "GetMachine", []any{name}))
	eventually(t, "nothing is left of the question", func() error {
		if now := descriptors(t, daemon); now > before {
			return fmt.Errorf("the daemon has %d descriptors, had %d", now, before)
		}
		return nil
	})
}

func processOf(t *testing.T, user, program string) string {
	t.Helper()
	return run(t, "pgrep", "-u", user, "-x", program)
}

// eavesdrop returns the calls on the bus that match a rule.
func eavesdrop(t *testing.T, rule string) <-chan *dbus.Message {
	t.Helper()
	conn := dialAs(t, "root")
	must(t, bus.Call(t.Context(), conn, busDriver, "org.freedesktop.DBus.Monitoring.BecomeMonitor", false, []any{[]string{rule}, uint32(0)}))
	all, wanted := make(chan *dbus.Message, 100), make(chan *dbus.Message, 100)
	conn.Eavesdrop(all)
	go func() {
		for m := range all {
			if m.Type == dbus.TypeMethodCall && len(m.Body) > 0 {
				wanted <- m
			}
		}
	}()
	return wanted
}

// clients are the commands there are on this host.
func clients() []string {
	if live.Host.Machd {
		return []string{"machinectl", "machctl"}
	}
	return []string{"machinectl"}
}
