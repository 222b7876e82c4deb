package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// When a machine has ended, its last lines may take syncLimit into the journal, and
// lastWords from there to us.
const (
	syncLimit = 5 * time.Second
	lastWords = 500 * time.Millisecond
)

// logs shows the log lines of a machine.
func (a *app) logs(ctx context.Context, args []string) error {
	name := args[0]
	if err := checkNames(args, machine1.ValidMachineName); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	selection, err := a.logSelection(ctx, name)
	if err != nil {
		return err
	}
	journalArgs := append([]string{"--no-pager"}, selection.args...)
	if a.linesGiven {
		journalArgs = append(journalArgs, "--lines="+strconv.FormatUint(uint64(a.lines), 10))
	}
	if a.since != "" {
		journalArgs = append(journalArgs, "--since="+a.since)
	}
	if output := a.journalOutput(); output != "" {
		journalArgs = append(journalArgs, "--output="+output)
	}
	if a.follow && selection.running {
		journalArgs = append(journalArgs, "--follow")
		followed, end, err := a.whileRunning(ctx, name)
		if err != nil {
			return err
		}
		defer end()
		ctx = followed
	}
	return a.showJournal(ctx, append(journalArgs, selection.matches...))
}

// A logSelection says which log lines are a machine's.
type logSelection struct {
	args    []string // options of journalctl
	matches []string
	running bool // more may come
}

func (a *app) logSelection(ctx context.Context, name string) (logSelection, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	m, err := a.client.Machine(ctx, name)
	switch {
	case err == nil && a.inside:
		return logSelection{args: []string{"--machine=" + name}, running: true}, nil
	case err == nil:
		return a.logsOfRunning(ctx, m)
	case !errors.Is(err, machine1.ErrNoSuchMachine):
		return logSelection{}, err
	case a.inside:
		return a.logsInImage(ctx, name)
	}
	return a.logsOfPast(ctx, name)
}

// logsOfRunning selects by the run of the unit if that is the machine's own and
// PID 1 tells it: it began before the machine was registered.
func (a *app) logsOfRunning(ctx context.Context, m client.Machine) (logSelection, error) {
	if m.Unit == "" {
		return logSelection{}, fmt.Errorf("machine %q runs in no unit, so no log lines are known to be its", m.Name)
	}
	if m.OwnsUnit() {
		if invocation, err := a.client.Invocation(ctx, m.Unit); err == nil && invocation != "" {
			return logSelection{args: a.journalScope(), matches: a.ofInvocation(invocation), running: true}, nil
		}
	}
	return logSelection{args: append(a.journalScope(), a.unitFlag(), m.Unit, "--since="+instant(m.Since)), running: true}, nil
}

// logsOfPast selects the last run of a machine that has ended, or the last
// attempt to start it if that was later.
func (a *app) logsOfPast(ctx context.Context, name string) (logSelection, error) {
	o := client.HistoryOptions{Name: name, User: a.user}
	last, err := client.FindLastRun(ctx, o)
	if err != nil {
		return logSelection{}, journalHint(err)
	}
	past, err := client.History(ctx, o)
	if err != nil {
		return logSelection{}, journalHint(err)
	}
	if last.Invocation != "" && (len(past) == 0 || last.Until.After(past[len(past)-1].From)) {
		return logSelection{args: a.journalScope(), matches: a.ofInvocation(last.Invocation)}, nil
	}
	if len(past) == 0 {
		text := fmt.Sprintf("machine %q does not run, and the journal knows of none that did", name)
		return logSelection{}, &hintedError{machine1.Errorf(machine1.ErrNoSuchMachine, "%s", text),
			`"machctl history" shows which did`}
	}
	return a.logsOfMachine(past[len(past)-1]), nil
}

// logsOfMachine selects what a machine's unit wrote while it ran.
func (a *app) logsOfMachine(m client.PastMachine) logSelection {
	switch {
	case m.Invocation != "":
		return logSelection{args: a.journalScope(), matches: a.ofInvocation(m.Invocation)}
	case m.Unit == "":
		m.Unit = machine1.ServiceUnit(m.Name)
	}
	args := append(a.journalScope(), a.unitFlag(), m.Unit)
	if !m.From.IsZero() {
		args = append(args, "--since="+instant(m.From.Add(-time.Second)))
	}
	if !m.To.IsZero() {
		args = append(args, "--until="+instant(m.To.Add(time.Second)))
	}
	return logSelection{args: args}
}

// logsInImage selects what a machine wrote itself that does not run.
func (a *app) logsInImage(ctx context.Context, name string) (logSelection, error) {
	image, err := a.client.Image(ctx, name)
	if err != nil {
		return logSelection{}, err
	}
	option := "--root="
	if image.Type == "raw" || image.Type == "block" {
		option = "--image="
	}
	return logSelection{args: []string{option + image.Path}}, nil
}

func (a *app) journalScope() []string {
	if a.user {
		return []string{"--user"}
	}
	return []string{"--system"}
}

// ofInvocation matches what was written in one run of a unit, and what the
// service manager says of it.
func (a *app) ofInvocation(id string) []string {
	if a.user {
		return []string{"_SYSTEMD_INVOCATION_ID=" + id, "+", "USER_INVOCATION_ID=" + id}
	}
	return []string{"_SYSTEMD_INVOCATION_ID=" + id, "+", "INVOCATION_ID=" + id, "_PID=1"}
}

// instant writes t for journalctl.
func instant(t time.Time) string {
	return fmt.Sprintf("@%d.%06d", t.Unix(), t.Nanosecond()/1000)
}

// whileRunning returns a context that ends soon after the machine has.
func (a *app) whileRunning(ctx context.Context, name string) (context.Context, func(), error) {
	gone, err := limited(ctx, a, func(ctx context.Context) (*client.GoneWatch, error) { return a.client.WatchGone(ctx, name) })
	if err != nil {
		return nil, nil, err
	}
	followed, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if gone.Wait(followed) == nil {
			syncJournal(followed)
			sleep(followed, lastWords)
			cancel()
		}
	}()
	return followed, func() { cancel(); <-done; gone.Close() }, nil
}

// syncJournal waits until journald has written what it was told so far. Who may not
// ask it for that has what is there by then.
func syncJournal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, syncLimit)
	defer cancel()
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
}

// showJournal runs journalctl on our own output.
func (a *app) showJournal(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS="+strconv.FormatBool(a.ui.colour))
	cmd.Stdout = a.ui.out
	said := &held{to: a.ui.err}
	defer said.letGo()
	defer time.AfterFunc(heldTime, said.letGo).Stop()
	cmd.Stderr = said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil:
		return nil
	case errors.As(err, &exit) && exit.Exited():
		if denied := said.takeDenial(); denied != "" {
			return journalHint(machine1.Errorf(machine1.ErrAccessDenied, "cannot read the journal: %s", denied))
		}
		// It has said why, and that it found nothing is no reason.
		return statusError(exit.ExitCode())
	}
	return fmt.Errorf("cannot read the journal: %w", err)
}

// heldTime is how long it takes a program that may not read to say so.
const heldTime = 2 * time.Second

// held keeps what a program says at first, which is more than a person needs if
// it fails for want of a right.
type held struct {
	to io.Writer

	mu   sync.Mutex
	text []byte
	open bool // nothing is kept any more
}

func (h *held) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open {
		return h.to.Write(b)
	}
	h.text = append(h.text, b...)
	return len(b), nil
}

// letGo passes on what was kept, and from now on everything.
func (h *held) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.to.Write(h.text)
	h.text, h.open = nil, true
}

// takeDenial returns the last line of what is kept, in place of all of it, if it
// says that a right is lacking.
func (h *held) takeDenial() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := strings.TrimRight(string(h.text), "\n")
	line := text[strings.LastIndexByte(text, '\n')+1:]
	if !strings.Contains(line, "insufficient permissions") {
		return ""
	}
	h.text = nil
	return line
}
