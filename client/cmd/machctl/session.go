package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/ptyfwd"
	"github.com/machd/machd/pkg/machine1"
)

// login attaches to a login prompt of a machine.
func (a *app) login(ctx context.Context, args []string) error {
	name := machine1.Host
	if len(args) > 0 && args[0] != "" {
		name = args[0]
	}
	switch {
	case a.uid != "" || len(a.environment) > 0:
		return stocked(usagef("login: --uid and --setenv are for shell: a login asks who you are"),
			"--setenv= and --uid= are not supported for 'login'. Use 'shell' instead.")
	case !a.ui.isTerminal() && !a.stock:
		return &hintedError{
			usagef("login: the output is not a terminal, and a login prompt is for one"),
			fmt.Sprintf(`"machctl shell %s COMMAND" runs a command, wherever its output goes`, name),
		}
	}
	action := machine1.ActionLogin
	if name == machine1.Host {
		action = machine1.ActionHostLogin
	}
	return a.attach(ctx, name, action, true, func(ctx context.Context) (session, error) {
		opened, err := a.client.OpenLogin(ctx, name)
		if err != nil {
			return session{}, err
		}
		return session{terminal: opened.Terminal}, nil
	})
}

// shell runs a shell or a command on a terminal of a machine. What follows the
// machine's name belongs to the command, options too.
func (a *app) shell(ctx context.Context, args []string) error {
	user, name, err := a.target("shell", args)
	if err != nil {
		return err
	}
	action := machine1.ActionShell
	if name == machine1.Host {
		action = machine1.ActionHostShell
	}
	words := args[min(1, len(args)):]
	err = a.attach(ctx, name, action, false, func(ctx context.Context) (session, error) {
		return a.openShell(ctx, name, user, words)
	})
	return withPathHint(name, words, err)
}

// openShell has the command run by machd, who can tell how it ends. systemd-machined
// cannot, and who calls us machinectl does not ask. A shell that somebody works
// in is opened the stock way: it does not end with the daemon, which may be
// restarted at any time, and he sees himself how it ends.
func (a *app) openShell(ctx context.Context, name, user string, words []string) (session, error) {
	switch {
	case a.stock, a.user:
		// A user's daemon enters machines with ids of their own this way only.
		return a.openLastingShell(ctx, name, user, words)
	case len(words) == 0 && a.ui.isTerminal():
		s, err := a.openLastingShell(ctx, name, user, words)
		if !errors.Is(err, machine1.ErrFileNotFound) {
			return s, err
		}
		// There is no service manager to run it.
	}
	command := client.ExecCommand{Args: words, User: user, Env: a.shellEnvironment(), Terminal: true, Login: true}
	command.Rows, command.Columns = ptyfwd.Size(os.Stdout)
	running, err := a.client.Exec(ctx, name, command)
	if errors.Is(err, machine1.ErrNotSupported) {
		return a.openLastingShell(ctx, name, user, words)
	}
	if err != nil {
		return session{}, err
	}
	return session{running.Terminal, running}, nil
}

func (a *app) openLastingShell(ctx context.Context, name, user string, words []string) (session, error) {
	command := client.ShellCommand{User: user, Env: a.shellEnvironment()}
	if len(words) > 0 {
		command.Path = words[0]
	}
	if len(words) > 1 {
		command.Args = words
	}
	opened, err := a.client.OpenShell(ctx, name, command)
	if err != nil {
		return session{}, err
	}
	return session{terminal: opened.Terminal}, nil
}

// shellEnvironment tells programs what our terminal can do.
func (a *app) shellEnvironment() []string {
	env := slices.Clone(a.environment)
	add := func(name, value string) {
		set := func(assignment string) bool { return strings.HasPrefix(assignment, name+"=") }
		if value != "" && !slices.ContainsFunc(env, set) {
			env = append(env, name+"="+value)
		}
	}
	if !a.ui.isTerminal() || os.Getenv("TERM") == "dumb" {
		add("TERM", "dumb")
		return env
	}
	for _, name := range []string{"TERM", "COLORTERM", "NO_COLOR"} {
		add(name, os.Getenv(name))
	}
	return env
}

// A session is a terminal in a machine that is ours.
type session struct {
	terminal *os.File
	running  *client.Execution // of the command on it, nil if nobody tells how that ends
}

func (s session) close() {
	if s.running != nil {
		_ = s.running.Close()
		return
	}
	_ = s.terminal.Close()
}

// attach opens a session and forwards it until it ends. The end of the machine
// is watched from before the session begins.
func (a *app) attach(ctx context.Context, name, action string, login bool, open func(context.Context) (session, error)) error {
	if err := a.checkLookups(name); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, action); err != nil {
		return err
	}
	call, cancel := a.limit(ctx)
	defer cancel()
	watch, err := a.client.WatchGone(call, name)
	if err != nil {
		return err
	}
	defer watch.Close()
	s, err := open(call)
	a.agent.Stop()
	if err != nil {
		return a.withSessionHint(call, name, err)
	}
	defer s.close()
	return a.forward(ctx, name, s, watch, login)
}

func (a *app) forward(ctx context.Context, name string, s session, watch *client.GoneWatch, login bool) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	// Without a bus nobody says when the machine ends, so that the next
	// hang-up has to do.
	ended := make(chan struct{})
	died := false
	go func() {
		died = watch.Wait(watching) == nil
		close(ended)
	}()

	a.ui.say(fmt.Sprintf("Connected to %s. Press ^] three times within 1s to exit session.", partner(name)))
	show := func(ctx context.Context, over <-chan struct{}) (ptyfwd.Result, error) {
		result, err := ptyfwd.Run(ctx, s.terminal, ptyfwd.Options{Stdin: os.Stdin, Stdout: os.Stdout, Login: login, Gone: ended, Over: over})
		if err != nil {
			return result, err
		}
		stop()
		<-ended
		if result.MidLine && a.ui.isTerminal() && result.Ending != ptyfwd.OutputClosed {
			a.ui.print("\n")
		}
		if died && name != machine1.Host {
			a.ui.say(fmt.Sprintf("Machine %s terminated.", name))
		} else {
			a.ui.say(fmt.Sprintf("Connection to %s terminated.", partner(name)))
		}
		return result, nil
	}
	if s.running != nil {
		return follow(ctx, s.running, show)
	}
	result, err := show(ctx, nil)
	if err != nil {
		return err
	}
	return endingError(result)
}

func partner(name string) string {
	if name == machine1.Host {
		return "the local host"
	}
	return "machine " + name
}

// endingError tells endings apart that a script may care for. SIGINT and
// SIGTERM are polite ways to leave.
func endingError(r ptyfwd.Result) error {
	switch {
	case r.Ending == ptyfwd.OutputClosed:
		return statusError(exitSignal + int(syscall.SIGPIPE))
	case r.Ending != ptyfwd.Signalled || r.Signal == syscall.SIGINT || r.Signal == syscall.SIGTERM:
		return nil
	}
	if s, ok := r.Signal.(syscall.Signal); ok {
		return statusError(exitSignal + int(s))
	}
	return nil
}

// withSessionHint adds what to do where a session cannot be had.
func (a *app) withSessionHint(ctx context.Context, name string, err error) error {
	hint, way := "", fmt.Sprintf(`"nsenter --all --target $(machctl show -P Leader %s)", as root, enters one without them`, name)
	switch {
	case errors.Is(err, machine1.ErrFileNotFound):
		hint = "this needs systemd and a system bus running in the machine, and it may still be booting"
		if ours, askErr := a.client.IsMachd(ctx); askErr == nil && ours {
			way = fmt.Sprintf(`"machctl shell %s" does without them`, name)
		}
	case errors.Is(err, machine1.ErrTimeout):
		hint = "what should answer in the machine may be stopped, or have too much to do"
	default:
		return err
	}
	if name != machine1.Host {
		hint += "; " + way
	}
	return &hintedError{err, hint}
}

// withPathHint adds how to run a program that is not named by its whole path,
// which the stock method refuses.
func withPathHint(name string, words []string, err error) error {
	if len(words) == 0 || strings.HasPrefix(words[0], "/") || !errors.Is(err, machine1.ErrInvalidArgs) {
		return err
	}
	return &hintedError{err, fmt.Sprintf(`"machctl shell %s /bin/sh -c '%s …'" has the machine's own shell find it`, name, words[0])}
}
