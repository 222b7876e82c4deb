package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/ptyfwd"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const execHelp = `The program is looked for in the machine, and runs there as root or USER. Its exit
status is ours; 128+N says that signal N killed it, 127 that there is no such
program, 126 that it cannot be run, and 125 that we failed, and why.

Files and pipes are given to it as they are. Signals that end us are sent to it,
and it ends when we are killed. A terminal of ours stays here: with --tty it has
one in the machine instead, where ^] three times within a second leaves it.
Without, what is typed goes to it only with --interactive. In a machine that runs
systemd, it ends with machd, also when that is restarted: the exit status is 125
then.`

// execOptions are the options of commands in machines.
type execOptions struct {
	directory   string
	tty         bool
	interactive bool
}

func (o *options) addExecFlags(f *pflag.FlagSet) {
	f.VarP(&appended{&o.environment}, "env", "e", "The same as --setenv")
	f.StringVarP(&o.directory, "workdir", "w", "", "Run the command in this `DIR` of the machine")
	f.BoolVarP(&o.tty, "tty", "t", false, "Give the command a terminal in the machine")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Give the command what is typed here")
}

// appended is an option that may be given more than once, under several names.
type appended struct{ list *[]string }

func (a *appended) Set(text string) error {
	*a.list = append(*a.list, text)
	return nil
}

func (a *appended) String() string { return "" }
func (a *appended) Type() string   { return "VAR[=VALUE]" }

// exec runs a command in a machine as if it were run here.
func (a *app) exec(ctx context.Context, args []string) error {
	user, name, err := a.target("exec", args)
	if err != nil {
		return err
	}
	words, err := execWords(args[1:])
	if err != nil {
		return err
	}
	if err := a.actOn(ctx, name, machd.ActionExec); err != nil {
		return err
	}
	run := func(ctx context.Context, command client.ExecCommand) (*client.Execution, error) {
		return a.client.Exec(ctx, name, command)
	}
	command := client.ExecCommand{Args: words, User: user, Dir: a.directory, Env: a.environment}
	if a.tty {
		command.Terminal, command.Env = true, a.shellEnvironment()
		return a.execOnTerminal(ctx, command, run)
	}
	return a.execHere(ctx, command, run)
}

// A runner has a command run.
type runner func(ctx context.Context, command client.ExecCommand) (*client.Execution, error)

// execWords returns the command of what follows the machine's name.
func execWords(args []string) ([]string, error) {
	switch {
	case args[0] != "--" && strings.HasPrefix(args[0], "-"):
		return nil, usagef("exec: options go before NAME, and %q stands behind it; if it is the command, -- goes before it", args[0])
	case args[0] == "--":
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "" {
		return nil, usagef("exec: there is no command")
	}
	return args, nil
}

// execHere runs a command on our own files.
func (a *app) execHere(ctx context.Context, command client.ExecCommand, run runner) error {
	files, err := newStreams(os.Stdin, os.Stdout, os.Stderr, a.interactive)
	if err != nil {
		return err
	}
	defer files.close()
	command.Stdin, command.Stdout, command.Stderr = files.in, files.out, files.err
	signals := takeSignals()
	defer signals.stop()
	running, err := a.begin(ctx, signals, command, run)
	if err != nil {
		return err
	}
	defer running.Close()
	files.begin()
	go signals.pass(running)
	outcome, err := running.Wait(ctx)
	files.finish()
	if err != nil {
		return err
	}
	return outcomeError(outcome)
}

// execOnTerminal runs a command on a new terminal, joined to ours.
func (a *app) execOnTerminal(ctx context.Context, command client.ExecCommand, run runner) error {
	command.Rows, command.Columns = ptyfwd.Size(os.Stdout)
	signals := takeSignals()
	running, err := a.begin(ctx, signals, command, run)
	signals.stop() // the terminal takes its own
	if err != nil {
		return err
	}
	defer running.Close()
	signals.pass(running)
	o := ptyfwd.Options{Stdin: os.Stdin, Stdout: os.Stdout, Signal: func(s os.Signal) bool {
		pass(running, s)
		return s != unix.SIGHUP // we have no terminal any more
	}}
	return follow(ctx, running, func(ctx context.Context, over <-chan struct{}) (ptyfwd.Result, error) {
		o.Over = over
		return ptyfwd.Run(ctx, running.Terminal, o)
	})
}

// outcomeLimit is how long it may take to hear how a command has ended whose terminal
// has hung up as its machine, or the bus, has gone.
const outcomeLimit = 5 * time.Second

// follow shows a command's terminal until it ends or the user leaves it, and
// tells how it ended.
func follow(ctx context.Context, running *client.Execution, show func(ctx context.Context, over <-chan struct{}) (ptyfwd.Result, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var outcome machd.Outcome
	var waitErr error
	over := make(chan struct{})
	go func() {
		outcome, waitErr = running.Wait(ctx)
		close(over)
	}()
	result, err := show(ctx, over)
	if err == nil && result.Ending == ptyfwd.HungUp {
		select {
		case <-over:
		case <-time.After(outcomeLimit):
		}
	}
	cancel()
	<-over
	switch {
	case err != nil:
		return err
	case result.Ending != ptyfwd.HungUp:
		return endingError(result)
	case errors.Is(waitErr, context.Canceled):
		return &commandError{"the machine or the bus has gone, and nobody tells how the command ended", exitOurs}
	case waitErr != nil:
		return waitErr
	}
	return outcomeError(outcome)
}

// outcomeError is how a command ended as an exit code, with words where it has
// no status of its own.
func outcomeError(o machd.Outcome) error {
	switch {
	case o.Exit != nil && *o.Exit == 0:
		return nil
	case o.Exit != nil:
		return statusError(*o.Exit)
	case o.Signal != 0:
		return statusError(exitSignal + o.Signal)
	}
	text := o.Message
	if text == "" {
		text = fmt.Sprintf("the command has no exit status: %s", o.Failure)
	}
	switch o.Failure {
	case machd.FailureNotFound:
		return &commandError{text, exitNoCommand}
	case machd.FailureNotExecutable:
		return &commandError{text, exitNotExecutable}
	}
	return &commandError{text, exitOurs}
}

// target parses [[USER@]NAME].
func (a *app) target(verb string, args []string) (user, name string, err error) {
	user = a.uid
	if len(args) > 0 {
		name = args[0]
	}
	if before, after, ok := strings.Cut(name, "@"); ok {
		if before == "" {
			return "", "", stocked(usagef("%s: there is no user before the @ in %q", verb, name), "Failed to parse machine specification: Invalid argument")
		}
		user, name = before, after
	}
	if name == "" {
		name = machine1.Host
	}
	return user, name, nil
}
