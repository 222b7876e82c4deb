package nsexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/session"
	"github.com/machd/machd/pkg/machd"
)

// An SSH is the way into a virtual machine, as it was registered.
type SSH struct {
	Address string // "" for none
	Key     string // path of the private key, "" for the usual ones
}

// command returns what is run on the host for a command in the machine.
func (s SSH) command(o order) []string {
	argv := []string{"ssh", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "EscapeChar=none",
		// A machine has a new key with each boot, and is told by its address.
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-l", o.User}
	if s.Key != "" {
		argv = append(argv, "-o", "IdentitiesOnly=yes", "-i", s.Key)
	}
	if o.Spec.Terminal {
		argv = append(argv, "-tt")
	}
	argv = append(argv, "--", s.Address)
	if line := o.Spec.commandLine(); line != "" {
		argv = append(argv, line)
	}
	return argv
}

// commandLine is what a shell has to be told to run s, "" for nothing but a
// shell.
func (s spec) commandLine() string {
	var line []string
	if s.Directory != "" {
		line = append(line, "cd", quoted(s.Directory), "&&")
	}
	if len(s.Args) == 0 {
		if len(line) == 0 && len(s.Env) == 0 {
			return ""
		}
		s.Args = []string{"sh", "-c", `exec "${SHELL:-sh}" -l`}
	}
	line = append(line, "exec")
	if len(s.Env) > 0 {
		line = append(line, "env", "--")
	}
	for _, word := range append(s.Env, s.Args...) {
		line = append(line, quoted(word))
	}
	return strings.Join(line, " ")
}

// quoted returns word as every shell reads it unchanged.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// runSSH runs what is ordered on the host, which has it run in the machine.
func (b *begin) runSSH() (session.Running, error) {
	argv := b.order.SSH.command(b.order)
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("machine %s is reached by ssh, which is not installed here: %w", b.order.Machine, err)
	}
	cmd := &exec.Cmd{
		Path: program, Args: argv, Env: append(os.Environ(), terminalType(b.order.Spec.Env)...),
		Stdin: b.files[orderStdio], Stdout: b.files[orderStdio+1], Stderr: b.files[orderStdio+2],
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: b.order.Spec.Terminal},
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start ssh: %w", err)
	}
	r := &remote{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = cmd.Wait()
	}()
	return r, nil
}

// terminalType is what ssh itself passes on.
func terminalType(env []string) []string {
	for _, assignment := range env {
		if strings.HasPrefix(assignment, "TERM=") {
			return []string{assignment}
		}
	}
	return nil
}

// A remote is the ssh that runs a command in a virtual machine.
type remote struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // valid once ended is closed
}

// Unit says that there is none.
func (r *remote) Unit() string { return "" }

// Wait returns how ssh ended, whose exit status is the command's. It cannot be
// told from a command that exits with 255 that there was no connection: but ssh
// then has said so.
func (r *remote) Wait(ctx context.Context) machd.Outcome {
	select {
	case <-r.ended:
	case <-ctx.Done():
		return machd.Outcome{Failure: machd.FailureLost, Message: fmt.Sprintf("The command does not end: %v", context.Cause(ctx))}
	}
	var failed *exec.ExitError
	if r.err != nil && !errors.As(r.err, &failed) {
		return machd.Outcome{Failure: machd.FailureLost, Message: fmt.Sprintf("How the command ended is not known: %v", r.err)}
	}
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return machd.Outcome{Signal: int(status.Signal())}
	}
	exit := status.ExitStatus()
	return machd.Outcome{Exit: &exit}
}

// Signal can only end the connection: ssh passes no signals on.
func (r *remote) Signal(_ context.Context, signal int) error {
	return r.cmd.Process.Signal(syscall.Signal(signal))
}

// Stop hangs up.
func (r *remote) Stop(ctx context.Context) error {
	_ = r.cmd.Process.Signal(unix.SIGTERM) // it may have ended
	select {
	case <-r.ended:
		return nil
	case <-time.After(grace):
	case <-ctx.Done():
	}
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Close does nothing: Wait has seen the end.
func (r *remote) Close() error { return nil }
