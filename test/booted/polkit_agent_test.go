package booted

import (
	"strings"
	"testing"
)

const secret = "correct horse"

// An agent of the terminal's user asks for root's password.
func TestPolkitAsksForAPassword(t *testing.T) {
	w := watch(t)
	const name = "asked"
	register(t, w, name, startProcess(t, name))
	before := strings.Split(run(t, "getent", "shadow", "root"), ":")[1]
	run(t, "sh", "-c", "echo 'root:"+secret+"' | chpasswd")
	t.Cleanup(func() { run(t, "usermod", "-p", before, "root") })

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

// clients are the commands there are on this host.
func clients() []string {
	if host.machd {
		return []string{"machinectl", "machctl"}
	}
	return []string{"machinectl"}
}
