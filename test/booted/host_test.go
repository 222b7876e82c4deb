package booted

import (
	"errors"
	"syscall"
	"testing"

	"github.com/machd/machd/test/live"
	"github.com/machd/machd/test/terminal"
)

// What these tests have in common with others in a booted host.
var (
	observe    = live.Observe
	observeAs  = live.ObserveAs
	run        = live.Run
	must       = live.Must
	eventually = live.Eventually
	unitIs     = live.UnitIs
)

type outcome = live.Outcome

const patience = live.Patience

func credentialOf(t *testing.T, name string) (*syscall.Credential, string) {
	t.Helper()
	credential, home, err := live.CredentialOf(name)
	must(t, err)
	return credential, home
}

func openTerminal(t *testing.T, argv ...string) *terminal.Terminal {
	t.Helper()
	term, err := terminal.Open(func(text string) { t.Log(text) }, argv...)
	must(t, err)
	return term
}

// asUser is what a command line begins with that is for a user.
func asUser(name string) []string {
	return []string{"setpriv", "--reuid=" + name, "--regid=" + name, "--init-groups", "--reset-env", "--"}
}

// talk plays a dialogue: it waits for each text and types the answer.
func talk(t *testing.T, term *terminal.Terminal, rounds ...[2]string) {
	t.Helper()
	for _, round := range rounds {
		if _, err := term.Expect(round[0]); err != nil {
			t.Fatal(err)
		}
		must(t, term.Type(round[1]))
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v, want %v", err, want)
	}
}

// processAttributes start a process as somebody else.
func processAttributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c}
}
