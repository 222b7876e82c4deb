package booted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/machd/machd/test/terminal"
)

// patience is how long anything may take here, on a slow machine too.
const patience = time.Minute

// An outcome is how a command ended and what it wrote.
type outcome struct {
	Code           int // 128 and the signal's number if it was killed, -1 if it did not start
	Stdout, Stderr string
}

// observe runs a command that may fail.
func observe(t *testing.T, argv ...string) outcome {
	t.Helper()
	return observeAs(t, "root", argv...)
}

// observeAs runs a command as a user, who has no session.
func observeAs(t *testing.T, name string, argv ...string) outcome {
	t.Helper()
	// Clean-ups run commands too, after the test's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	credential, home := credentialOf(t, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	cmd.Env = append(cmd.Environ(), "HOME="+home, "USER="+name, "LOGNAME="+name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end\n%s%s", strings.Join(argv, " "), &stdout, &stderr)
	}
	return outcome{exitCode(err), stdout.String(), stderr.String()}
}

func credentialOf(t *testing.T, name string) (*syscall.Credential, string) {
	t.Helper()
	u, err := user.Lookup(name)
	must(t, err)
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	must(t, errors.Join(uidErr, gidErr))
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := u.GroupIds()
	must(t, err)
	for _, group := range groups {
		id, err := strconv.ParseUint(group, 10, 32)
		must(t, err)
		c.Groups = append(c.Groups, uint32(id))
	}
	return c, u.HomeDir
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return -1
	case exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
}

// run runs a command that must succeed and returns what it printed.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	o := observe(t, argv...)
	if o.Code != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", strings.Join(argv, " "), o.Code, o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n")
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

// must stops the test at the first of the steps that failed.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v, want %v", err, want)
	}
}

// eventually waits until check is content. It is for what sends no signal.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(pause)
	}
}

// active returns an error unless a unit is in this state.
func unitIs(t *testing.T, unit, want string) func() error {
	return func() error {
		if got := observe(t, "systemctl", "is-active", unit).Stdout; strings.TrimSpace(got) != want {
			return fmt.Errorf("%s is %s", unit, got)
		}
		return nil
	}
}

// processAttributes start a process as somebody else.
func processAttributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c}
}
