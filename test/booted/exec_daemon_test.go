package booted

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client"
	contract "github.com/machd/machd/pkg/machd"
)

// An execution is what came of a command in a machine.
type execution struct {
	Outcome        contract.Outcome
	Stdout, Stderr string
}

// exited is what a command without output leaves that ended by itself.
func exited(status int) execution { return execution{Outcome: contract.Outcome{Exit: &status}} }

func said(text string) execution {
	e := exited(0)
	e.Stdout = text
	return e
}

// execIn runs a command in a machine over the client's library.
func execIn(t *testing.T, name string, command client.ExecCommand) (execution, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Connect(ctx)
	must(t, err)
	defer c.Close()
	var stdout, stderr capture
	stdout.begin(t)
	stderr.begin(t)
	command.Stdout, command.Stderr = stdout.writer, stderr.writer
	x, err := c.Exec(ctx, name, command)
	stdout.writer.Close()
	stderr.writer.Close()
	e := execution{}
	if err == nil {
		e.Outcome, err = x.Wait(ctx)
		x.Close()
	}
	e.Stdout, e.Stderr = stdout.end(), stderr.end()
	return e, err
}

// A capture reads a pipe until nobody has its other end.
type capture struct {
	writer *os.File
	text   bytes.Buffer
	done   sync.WaitGroup
}

func (c *capture) begin(t *testing.T) {
	t.Helper()
	reader, writer := pipe(t)
	c.writer = writer
	c.done.Go(func() {
		defer reader.Close()
		io.Copy(&c.text, reader)
	})
}

// pipe returns a pipe as shells make it: reading and writing wait.
func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	var fds [2]int
	must(t, syscall.Pipe2(fds[:], syscall.O_CLOEXEC))
	return os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
}

func (c *capture) end() string {
	c.done.Wait()
	return c.text.String()
}

func sh(script string, args ...string) client.ExecCommand {
	return client.ExecCommand{Args: append([]string{"sh", "-c", script, "sh"}, args...)}
}

// Whatever runs inside, a command there ends as it would anywhere.
func wantCommandsAsAnywhere(t *testing.T, name string) {
	t.Helper()
	failed := func(f contract.Failure) execution { return execution{Outcome: contract.Outcome{Failure: f}} }
	for _, test := range []struct {
		what    string
		command client.ExecCommand
		want    execution
	}{
		{"true", client.ExecCommand{Args: []string{"true"}}, exited(0)},
		{"a status", sh("exit 7"), exited(7)},
		{"statuses that systemd has a meaning for", sh("exit 203"), exited(203)},
		{"the largest status", sh("exit 255"), exited(255)},
		{"both streams", sh("echo out; echo err >&2; exit 1"),
			execution{exited(1).Outcome, "out\n", "err\n"}},
		{"a signal", sh("kill -9 $$"), execution{Outcome: contract.Outcome{Signal: 9}}},
		{"another signal", sh("kill -TERM $$"), execution{Outcome: contract.Outcome{Signal: 15}}},
		{"arguments", client.ExecCommand{Args: []string{"printf", "<%s>", "$$", "$HOME", "${HOME}", "%n", "a b", "", "\\", "\"", "'", "é", "$"}},
			said(`<$$><$HOME><${HOME}><%n><a b><><\><"><'><é><$>`)},
		{"a program by a relative path", client.ExecCommand{Args: []string{"bin/echo", "hi"}, Dir: "/"}, said("hi\n")},
		{"a directory", client.ExecCommand{Args: []string{"pwd"}, Dir: "/usr/bin"}, said("/usr/bin\n")},
		{"root's home", sh("pwd; echo $HOME"), said("/root\n/root\n")},
		{"an environment", client.ExecCommand{Args: []string{"sh", "-c", `echo "$A|$B"`}, Env: []string{"A=x  y", "B=$A%n"}}, said("x  y|$A%n\n")},
		{"a user", client.ExecCommand{Args: []string{"id", "-un"}, User: "nobody"}, said("nobody\n")},
		{"a user by number", client.ExecCommand{Args: []string{"id", "-u"}, User: "1"}, said("1\n")},
		{"no such program", client.ExecCommand{Args: []string{"nosuch"}}, failed(contract.FailureNotFound)},
		{"no such path", client.ExecCommand{Args: []string{"/no/such"}}, failed(contract.FailureNotFound)},
		{"a directory as a program", client.ExecCommand{Args: []string{"/etc"}}, failed(contract.FailureNotExecutable)},
		{"a text as a program", client.ExecCommand{Args: []string{"/etc/passwd"}}, failed(contract.FailureNotExecutable)},
		{"no such directory", client.ExecCommand{Args: []string{"true"}, Dir: "/no/such"}, failed(contract.FailureRefused)},
		{"no such user", client.ExecCommand{Args: []string{"true"}, User: "nosuch"}, failed(contract.FailureRefused)},
	} {
		t.Run(test.what, func(t *testing.T) {
			got, err := execIn(t, name, test.command)
			must(t, err)
			if (test.want.Outcome.Failure != "") != (got.Outcome.Message != "") {
				t.Errorf("the message is %q", got.Outcome.Message)
			}
			got.Outcome.Message = ""
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMachdExecInSystemdGuest(t *testing.T) {
	t.Parallel()
	const name = "cmd-systemd"
	startGuest(t, name)
	wantCommandsAsAnywhere(t, name)
	if units := run(t, "systemctl", "-M", name, "list-units", "--all", "--no-legend", "machd-exec-*"); units != "" {
		t.Errorf("units are left in the machine:\n%s", units)
	}
	wantNoRecords(t, name)
}

func TestMachdExecInBareGuest(t *testing.T) {
	t.Parallel()
	forBare(t, "cmd-bare", func(t *testing.T, name string) {
		wantCommandsAsAnywhere(t, name)
		wantBytesPassedOn(t, name)
		wantSignalsPassedOn(t, name)
		wantEndWithCaller(t, name, strconv.Itoa(5000+len(name)))
	})
}

func TestMachdExecOnTheHost(t *testing.T) {
	t.Parallel()
	wantCommandsAsAnywhere(t, ".host")
}

// wantNoRecords looks at what the daemon would tell its successor of the machine.
func wantNoRecords(t *testing.T, name string) {
	t.Helper()
	leader := run(t, "machinectl", "show", name, "-P", "Leader")
	eventually(t, "no command is remembered", func() error {
		left, err := filepath.Glob("/run/machd/exec/" + leader + "-*")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%q are", left)
		}
		return err
	})
}

// What is piped into a command reaches it as it is, up to its end.
func TestMachdExecPassesBytesOn(t *testing.T) {
	t.Parallel()
	const name = "cmd-bytes"
	startGuest(t, name)
	wantBytesPassedOn(t, name)
}

func wantBytesPassedOn(t *testing.T, name string) {
	t.Helper()
	all := make([]byte, 3<<20)
	for i := range all {
		all[i] = byte(i * 7)
	}
	reader, writer := pipe(t)
	defer reader.Close()
	go func() {
		defer writer.Close()
		writer.Write(all)
	}()
	got, err := execIn(t, name, client.ExecCommand{Args: []string{"cat"}, Stdin: reader})
	must(t, err)
	if got.Outcome.Exit == nil || *got.Outcome.Exit != 0 || got.Stdout != string(all) {
		t.Errorf("%d bytes of %d came back; %+v", len(got.Stdout), len(all), got.Outcome)
	}
}

// A command ends with whoever holds it, and with all that it has started.
func TestMachdExecEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	const name = "cmd-caller"
	startGuest(t, name)
	wantEndWithCaller(t, name, "4321")
}

// wantEndWithCaller has commands sleep for so many seconds, which nobody else
// does.
func wantEndWithCaller(t *testing.T, name, seconds string) {
	t.Helper()
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	for what, script := range map[string]string{
		"obedient": "sleep $1 & exec sleep $1",
		"stubborn": "trap '' TERM HUP; setsid sleep $1 & while :; do sleep $1; done",
	} {
		x, err := c.Exec(t.Context(), name, sh(script, seconds))
		must(t, err)
		eventually(t, "the "+what+" command sleeps", wantSleepers(seconds, 2))
		x.Close()
		eventually(t, "the "+what+" command has ended", wantSleepers(seconds, 0))
	}
	wantNoRecords(t, name)
}

// wantSleepers returns a check that so many processes sleep for so many seconds.
func wantSleepers(seconds string, want int) func() error {
	return func() error {
		paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		n := 0
		for _, path := range paths {
			if line, _ := os.ReadFile(path); string(line) == "sleep\x00"+seconds+"\x00" {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d processes sleep", n)
		}
		return nil
	}
}

// The signals that a caller sends reach the command.
func TestMachdExecPassesSignalsOn(t *testing.T) {
	t.Parallel()
	const name = "cmd-signals"
	startGuest(t, name)
	wantSignalsPassedOn(t, name)
}

func wantSignalsPassedOn(t *testing.T, name string) {
	t.Helper()
	c, err := client.Connect(t.Context())
	must(t, err)
	defer c.Close()
	command := sh(`trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.1; done`)
	reader, writer := pipe(t)
	defer reader.Close()
	command.Stdout = writer
	x, err := c.Exec(t.Context(), name, command)
	writer.Close()
	must(t, err)
	defer x.Close()
	line := make([]byte, 16)
	n, err := reader.Read(line)
	must(t, err)
	if got := strings.TrimSpace(string(line[:n])); got != "ready" {
		t.Fatalf("it says %q", got)
	}
	must(t, x.Signal(syscall.SIGUSR1))
	o, err := x.Wait(t.Context())
	must(t, err)
	if o.Exit == nil || *o.Exit != 5 {
		t.Errorf("it ended with %+v", o)
	}
}
