// Package agent runs the text-mode polkit agent beside a command, so that a
// user on a terminal without a desktop can be asked for a password.
package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// program is polkit's agent for terminals.
const program = "pkttyagent"

// notifyFD is the first descriptor that os/exec passes on.
const notifyFD = 3

// An Agent is a running agent, or none where none is needed.
type Agent struct {
	cmd *exec.Cmd
}

// Start starts an agent for this process and returns when it is ready. Root is
// not asked for passwords, nobody can be without a terminal, and a host without
// an agent has none: these get an Agent that does nothing.
//
// The caller must be locked to its thread: the agent is killed when the thread
// that started it ends, so that it does not outlive us on the terminal.
func Start() (*Agent, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil || os.Geteuid() == 0 {
		tty.Close()
		return &Agent{}, nil
	}
	tty.Close()
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrNotFound) {
		return &Agent{}, nil
	}
	return run(path)
}

func run(path string) (*Agent, error) {
	ready, notify, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start the password agent: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(path, "--notify-fd", strconv.Itoa(notifyFD), "--fallback")
	cmd.ExtraFiles = []*os.File{notify}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Start()
	notify.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot start the password agent: %w", err)
	}
	// The agent closes its end when it is ready, or by dying.
	_, _ = io.Copy(io.Discard, ready)
	return &Agent{cmd: cmd}, nil
}

// Stop ends the agent and waits for that: it gives the terminal back. It may
// be called more than once.
func (a *Agent) Stop() {
	if a == nil || a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	_ = a.cmd.Wait()
	a.cmd = nil
}
