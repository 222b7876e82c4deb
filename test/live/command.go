package live

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
)

// Patience is how long anything may take here, on a slow machine too.
const Patience = time.Minute

// An Outcome is how a command ended and what it wrote.
type Outcome struct {
	Code           int // 128 and the signal's number if it was killed, -1 if it did not start
	Stdout, Stderr string
}

// Observe runs a command that may fail.
func Observe(t *testing.T, argv ...string) Outcome {
	t.Helper()
	return ObserveAs(t, "root", argv...)
}

// ObserveAs runs a command as a user, who has no session.
func ObserveAs(t *testing.T, name string, argv ...string) Outcome {
	t.Helper()
	// Clean-ups run commands too, after the test's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	credential, home, err := CredentialOf(name)
	Must(t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	cmd.Env = append(cmd.Environ(), "HOME="+home, "USER="+name, "LOGNAME="+name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What it started may have its outputs.
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s does not end\n%s%s", strings.Join(argv, " "), &stdout, &stderr)
	}
	return Outcome{exitCode(err), stdout.String(), stderr.String()}
}

// CredentialOf returns who a user is, with all his groups, and his home directory.
func CredentialOf(name string) (*syscall.Credential, string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, "", err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, "", err
	}
	var ids []uint32
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, "", fmt.Errorf("cannot read an id of %s: %w", name, err)
		}
		ids = append(ids, uint32(id))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, u.HomeDir, nil
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return 0
	case !errors.As(err, &exit):
		return -1
	case exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
}

// Run runs a command that must succeed and returns what it printed.
func Run(t *testing.T, argv ...string) string {
	t.Helper()
	o := Observe(t, argv...)
	if o.Code != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", strings.Join(argv, " "), o.Code, o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n")
}

// Must stops the test at the first of its steps that failed.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until check is content. It is for what sends no signal.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
		time.Sleep(pause)
	}
}

// UnitIs returns a check that a unit is in this state.
func UnitIs(t *testing.T, unit, want string) func() error {
	return func() error {
		if got := strings.TrimSpace(Observe(t, "systemctl", "is-active", unit).Stdout); got != want {
			return fmt.Errorf("%s is %s", unit, got)
		}
		return nil
	}
}
