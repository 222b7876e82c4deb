package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/agent"
)

// Time limits of single calls. One that may ask the user for a password waits
// for a person.
const (
	callTimeout   = 25 * time.Second
	personTimeout = 5 * time.Minute
)

// machinectl is the name under which we keep the habits of the stock command.
const machinectl = "machinectl"

// An app is one run of the command.
type app struct {
	*options
	ui    *ui
	words []string // of the command line

	client *client.Client
	agent  *agent.Agent
	verb   *cobra.Command // for hints, once it has run
	next   string         // verb that --now has added, when it is at it
	action string         // polkit action that the verb needs, for hints
}

// run runs the command and returns the exit code.
func run(args []string) int {
	heedIgnoredPipes()
	a := &app{options: &options{stock: filepath.Base(args[0]) == machinectl}, words: args[1:]}
	a.ui = newUI(os.Stdout, os.Stderr, a.options)
	a.ui.stock = a.stock
	if len(a.words) > 0 && a.words[0] == completeVerb {
		a.complete(a.words[1:])
		return 0
	}
	a.readOuterPlace()
	root := a.rootCommand()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	verb, err := a.execute(ctx, root)
	if err == nil || errors.Is(err, errAnswered) {
		err = a.ui.failed
	}
	if a.ui.unread() && errors.Is(err, a.ui.failed) {
		err = nil
	}
	a.agent.Stop()
	a.verb = verb
	if err != nil {
		a.fail(err)
	}
	if a.client != nil {
		_ = a.client.Close()
	}
	code := exitCode(err)
	if runsCommands[verb.Name()] {
		code = asCommand(err)
	}
	if a.stock && code != 0 {
		return exitFailure
	}
	return code
}

// execute carries out the command line, and returns its verb.
func (a *app) execute(ctx context.Context, root *cobra.Command) (*cobra.Command, error) {
	words, err := a.verbFirst(root, a.words)
	if err != nil {
		return root, err
	}
	a.words = words
	root.SetArgs(words)
	return root.ExecuteContextC(ctx)
}

// connect connects to the bus, for questions, whose answers have no descriptors.
func (a *app) connect(ctx context.Context) error { return a.open(ctx, client.Plain()) }

func (a *app) open(ctx context.Context, options ...client.Option) error {
	if !a.noAskPassword {
		options = append(options, client.Interactive())
	}
	c, err := a.dial(ctx, options...)
	a.client = c
	return err
}

// connectToAct connects for something that needs the right to do action. If
// that needs a password, the user is asked for it.
func (a *app) connectToAct(ctx context.Context, action string) error {
	a.action = action
	if !a.noAskPassword && !a.elsewhere() {
		if os.Geteuid() != 0 {
			// The password agent dies with the thread that started it. Without
			// one, a thread that only we may use costs time.
			runtime.LockOSThread()
		}
		started, err := agent.Start()
		if err != nil {
			a.ui.notice(err.Error())
		}
		a.agent = started
	}
	return a.open(ctx)
}

// limit bounds a call. $SYSTEMD_BUS_TIMEOUT is the stock command's variable.
func (a *app) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := callTimeout
	if a.agent != nil && os.Geteuid() != 0 {
		timeout = personTimeout
	}
	if d, err := parseDuration(os.Getenv("SYSTEMD_BUS_TIMEOUT")); err == nil && d > 0 {
		timeout = d
	}
	return context.WithTimeout(ctx, timeout)
}

// limited asks something that is answered at once by who is there.
func limited[T any](ctx context.Context, a *app, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return ask(ctx)
}

// isMachd reports whether the daemon has what is machd's own.
func (a *app) isMachd(ctx context.Context) (bool, error) { return limited(ctx, a, a.client.IsMachd) }

func (a *app) hasImage(ctx context.Context, name string) (bool, error) {
	return limited(ctx, a, func(ctx context.Context) (bool, error) { return a.client.HasImage(ctx, name) })
}

// parseDuration accepts a number of seconds as well as Go's "1m30s".
func parseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	return time.ParseDuration(text)
}
