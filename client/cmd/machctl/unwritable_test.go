package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
)

// printing are command lines that print, each in its own way.
var printing = []string{
	"list", "list --json", "list -o json", "list --format {{.name}}", "show c8-ns", "status c8-ns -n 0", "status c8-ns --json",
	"list-images", "port list", "top --delay=10ms -n 1", "help", "help list", "help exit-codes", "--version", "--introspect-cli",
	"list --signal=list", "completion bash",
}

func TestAResultThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, line := range printing {
		cmd := command(w, strings.Fields(line)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &said
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != exitFailure {
			t.Errorf("%s: exit code %d, want %d", line, got, exitFailure)
		}
		if got, want := said.String(), "machctl: cannot print the result: "; !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s says %q, want one line that begins with %q", line, got, want)
		}
	}
}

// Who does not read on has seen enough: the command ends as others do.
func TestNobodyReadsTheResult(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	for _, line := range printing {
		said, err := unread(t, command(w, strings.Fields(line)...))
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if status := exit.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPIPE || said != "" {
			t.Errorf("%s ends with %v, and says %q", line, exit, said)
		}
	}
}

// In a service SIGPIPE is ignored, and nobody expects to be ended by it.
func TestNobodyReadsTheResultOfAService(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	for _, line := range printing {
		cmd := command(w)
		shell := exec.Command("sh", append([]string{"-c", `trap "" PIPE; "$@"; exit $?`, "sh", cmd.Path}, strings.Fields(line)...)...)
		shell.Env = cmd.Env
		if said, err := unread(t, shell); err != nil || said != "" {
			t.Errorf("%s ends with %v, and says %q", line, err, said)
		}
	}
}

// unread runs a command whose output nobody reads, and returns what it says besides.
func unread(t *testing.T, cmd *exec.Cmd) (said string, err error) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	var errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = writer, &errors
	err = cmd.Run()
	return errors.String(), err
}
