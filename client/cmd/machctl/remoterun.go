package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/relay"
	"github.com/machd/machd/pkg/child"
	"github.com/machd/machd/pkg/machine1"
)

// relayVerb is what the other host's machctl is told to be the far end by. It is
// in no help: nobody types it.
const relayVerb = "relay"

// A farCommand is a command line of machctl for another host, and what does
// instead where there is no machctl.
type farCommand struct {
	verb    string
	words   []string // what follows machctl
	instead *standIn // nil if there is none
}

// A standIn does what machctl would, where only systemd is.
type standIn struct {
	line  []string
	name  string // of what does it
	lacks string // what is missed then
}

// runThere has a verb run by machctl on the other host.
func (a *app) runThere(cmd *cobra.Command, args []string) error {
	far := farCommand{verb: cmd.Name(), words: a.farWords(cmd, cmd.Name(), args)}
	if a.standInsHelp() {
		far.instead = a.standIn(cmd.Name(), args)
	}
	if a.wantsTerminal(cmd.Name()) {
		return a.runOnTerminal(far)
	}
	var stdin io.Reader
	if a.readsInput(cmd.Name()) {
		stdin = os.Stdin
	}
	return a.runRelayed(far, stdin, os.Stdout)
}

// readsInput reports whether a verb that is run on another host may read our
// standard input. From others it is kept: what is read ahead for them would be
// lost to whoever reads it after us.
func (a *app) readsInput(verb string) bool {
	switch {
	case isTerminal(os.Stdin):
		return a.interactive || a.tty || verb == "shell"
	case runsCommands[verb]:
		return true
	}
	return verb == "login" || verb == "edit" || verb == "copy-to"
}

// standInsHelp reports whether what does instead of machctl can be where it is
// missing: it leads into no machine of the host, and knows no user's machines.
func (a *app) standInsHelp() bool { return a.host.Container == "" && !a.user }

// wantsTerminal reports whether a verb is for somebody at a terminal.
func (a *app) wantsTerminal(verb string) bool {
	switch {
	case !a.ui.isTerminal(), a.structured(), ways[verb] == copies:
		return false
	case !isTerminal(os.Stdin) && !a.readsInput(verb):
		return false // it is for somebody else, as lines are that a loop reads
	case verb == "run":
		return a.tty || isTerminal(os.Stdin)
	case verb == "exec":
		return a.tty
	}
	return true
}

// farWords are a verb with all options as they were given, but for the host.
func (a *app) farWords(cmd *cobra.Command, verb string, args []string) []string {
	var words []string
	if a.host.Container != "" {
		words = append(words, "--machine="+a.host.Container)
	}
	_, given, err := cmd.Root().Find(a.words)
	if err != nil {
		given = nil // it was found once already
	}
	_ = cmd.Flags().ParseAll(given, func(flag *pflag.Flag, value string) error {
		switch flag.Name {
		case "host", "machine", "setenv", "env":
		default:
			words = append(words, "--"+flag.Name+"="+value)
		}
		return nil
	})
	// Values that were left out are those of here.
	words = append(words, a.settings()...)
	words = append(words, verb)
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		dash = min(dash, len(args))
		return append(append(append(words, args[:dash]...), "--"), args[dash:]...)
	}
	return append(words, args...)
}

// runRelayed runs a command on the other host with files of ours.
func (a *app) runRelayed(far farCommand, stdin io.Reader, stdout io.Writer) error {
	otherwise := "echo 'machctl-relay: nobody'; exit 127"
	if far.instead != nil {
		otherwise = a.sayThere(far) + "echo 'machctl-relay: bare'; exec " + quoted(far.instead.line)
	}
	script := a.settingThere() + `command -v machctl >/dev/null && exec machctl ` + relayVerb + ` -- "$@"; ` + otherwise
	status, err := relay.Run(relay.Command{
		Args: a.host.SSH([]string{"-T"}, shellCommand(script, far.words)), Stdin: stdin, Stdout: stdout, Stderr: os.Stderr, Signals: taken,
	})
	var unreachable *relay.UnreachableError
	var signalled *relay.SignalError
	switch {
	case errors.As(err, &unreachable):
		return a.unreachable(unreachable.Status)
	case errors.As(err, &signalled):
		return statusError(exitSignal + int(signalled.Signal))
	case errors.Is(err, relay.ErrNobody):
		return a.nobodyThere(far)
	case errors.Is(err, relay.ErrLost):
		return machine1.Errorf(machine1.ErrDisconnected, "the connection to %s was lost, so %s was hung up", a.host, far.verb)
	case err != nil:
		return fmt.Errorf("cannot run %s on %s: %w", far.verb, a.host, err)
	case status != 0:
		return statusError(status)
	}
	return nil
}

// runOnTerminal runs it on a terminal there that is joined to ours, by ssh.
func (a *app) runOnTerminal(far farCommand) error {
	otherwise := "exit 127"
	switch {
	case far.instead != nil:
		otherwise = a.sayThere(far) + "exec " + quoted(far.instead.line)
	case runsCommands[far.verb]:
		// To us that is a status as the command's own are.
		otherwise = a.sayNobodyThere(far) + fmt.Sprintf("exit %d", exitOurs)
	}
	script := a.settingThere() + runMachctl + otherwise
	terminal := "-t"
	if !isTerminal(os.Stdin) {
		terminal = "-tt"
	}
	// Not that the connection was closed, but why there is none.
	line := a.host.SSH([]string{terminal, "-o", "LogLevel=ERROR"}, shellCommand(script, far.words))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := takeSignals()
	defer signals.stop()
	ssh, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return fmt.Errorf("cannot reach %s: %w", a.host, err)
	}
	for {
		select {
		case s := <-signals:
			// What the terminal sends has come to ssh as well. It gives the
			// terminal back when it ends.
			if s == unix.SIGTERM || s == unix.SIGHUP {
				ssh.Signal(s.(unix.Signal))
			}
			continue
		case <-ssh.Done():
		}
		break
	}
	switch status := ssh.Status(); {
	case status == sshFailed && runsCommands[far.verb]:
		return a.unreachableOr(", or the command has exited with 255")
	case status == sshFailed:
		return a.unreachableOr("")
	case status == shellNotFound && far.instead == nil && !runsCommands[far.verb]:
		return a.nobodyThere(far)
	case status != 0:
		return statusError(status)
	}
	return nil
}

// relayCommand is the hidden verb.
func (a *app) relayCommand() *cobra.Command {
	return &cobra.Command{
		Use: relayVerb, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return a.relayHere(args) },
	}
}

// relayHere is the far end: it runs this program with the arguments.
func (a *app) relayHere(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find machctl: %w", err)
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), outerPlace+"="+a.outer)
	status, err := relay.Serve(os.Stdin, os.Stdout, cmd)
	if err != nil {
		return fmt.Errorf("cannot be the far end: %w", err)
	}
	if status != 0 {
		return statusError(status)
	}
	return nil
}

func (a *app) unreachable(status int) error {
	if status != sshFailed {
		return &hintedError{
			machine1.Errorf(machine1.ErrDisconnected, "nothing was run on %s: ssh ended with exit status %d", a.host.itself(), status),
			fmt.Sprintf(`"ssh %s true" has to work first: the user needs a shell there`, a.sshName()),
		}
	}
	return a.unreachableOr("")
}

// unreachableOr is the end of ssh with the status that it has where it fails, and
// what else that may be.
func (a *app) unreachableOr(other string) error {
	return &hintedError{
		machine1.Errorf(machine1.ErrDisconnected, "ssh has not reached %s, or has lost it%s", a.host.itself(), other),
		fmt.Sprintf(`"ssh %s" has to work first`, a.sshName()),
	}
}

func (a *app) nobodyThere(far farCommand) *hintedError {
	why := ""
	if a.host.Container != "" {
		why = fmt.Sprintf(", to get into %q", a.host.Container)
	}
	return lacksMachctl(a.host.itself().String(), far.verb, why)
}

// sayNobodyThere is a line of a shell that says so.
func (a *app) sayNobodyThere(far farCommand) string {
	nobody := a.nobodyThere(far)
	return "echo " + quote("machctl: "+nobody.Error()) + " >&2; echo " + quote("machctl: hint: "+nobody.hint) + " >&2; "
}

func lacksMachctl(place, verb, why string) *hintedError {
	return &hintedError{
		machine1.Errorf(machine1.ErrServiceUnknown, "%s has no machctl, and %s needs it there%s", place, verb, why),
		"install machd there, or machctl alone",
	}
}

// runMachctl is a line of a shell that goes on where there is no machctl.
const runMachctl = `command -v machctl >/dev/null && exec machctl "$@"; `

// settingThere is a line of a shell that tells machctl there how it is reached
// from here, and finds the user's bus, also where nothing has made a session of
// ssh's.
func (a *app) settingThere() string {
	line := "export " + outerPlace + "=" + quote(a.nextPlace()) + "; "
	if a.user {
		line += `export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"; `
	}
	return line
}

// sayThere is a line of a shell that says why what follows is not machctl.
func (a *app) sayThere(far farCommand) string {
	if a.quiet {
		return ""
	}
	notice := fmt.Sprintf("machctl: %s has no machctl, so %s does it: %s", a.host, far.instead.name, far.instead.lacks)
	return "echo " + quote(notice) + " >&2; "
}

// standIn is what does a verb that runs something in a machine.
func (a *app) standIn(verb string, args []string) *standIn {
	switch verb {
	case "login":
		return &standIn{append([]string{"machinectl", "login"}, args...), "machinectl", "it needs systemd in the machine"}
	case "shell":
		if len(args) > 1 && !a.ui.isTerminal() {
			// machinectl ends it with its input.
			return a.systemdRun(args, "--property=PAMName=login")
		}
		line := []string{"machinectl", "shell", "--quiet"}
		if a.uid != "" {
			line = append(line, "--uid="+a.uid)
		}
		return &standIn{append(append(line, a.settings()...), args...), "machinectl", "nobody tells the exit status of a command"}
	case "exec":
		return a.systemdRun(args)
	}
	return nil
}

// settings are the variables as options.
func (a *app) settings() (options []string) {
	for _, assignment := range a.environment {
		options = append(options, "--setenv="+assignment)
	}
	return options
}

// unlessThere is a script that runs a line for a machine. It says that there is
// none, of which systemd-run says that the host is down.
var unlessThere = fmt.Sprintf(`machinectl show "$0" >/dev/null || exit %d; exec "$@"`, exitOurs)

// systemdRun runs a command in a machine with systemd.
func (a *app) systemdRun(args []string, options ...string) *standIn {
	user, name, err := a.target("exec", args)
	words, wordsErr := execWords(args[1:])
	if err != nil || wordsErr != nil {
		return nil
	}
	files := "--pipe"
	if a.tty {
		files = "--pty"
	}
	line := []string{"systemd-run", "--quiet", "--collect", "--wait", "--service-type=exec", files}
	line = append(line, options...)
	if name != machine1.Host {
		line = append(line, "--machine="+name)
	}
	if user != "" {
		line = append(line, "--uid="+user)
	}
	if a.directory != "" {
		line = append(line, "--working-directory="+a.directory)
	}
	line = append(append(line, a.settings()...), "--")
	for _, word := range words {
		line = append(line, strings.ReplaceAll(word, "$", "$$")) // PID 1 puts in variables
	}
	if name != machine1.Host {
		line = append([]string{"sh", "-c", unlessThere, name}, line...)
	}
	return &standIn{
		line, "systemd-run",
		"it needs systemd in the machine, passes no signals, and fails with 203 where there is no such command",
	}
}

// shellCommand is a command line for whatever shell a user of the other host
// has: sh runs a script, which has the words as its arguments.
func shellCommand(script string, words []string) string {
	return quoted(append([]string{"sh", "-c", script, "machctl"}, words...))
}

func quoted(words []string) string {
	var line []string
	for _, word := range words {
		line = append(line, quote(word))
	}
	return strings.Join(line, " ")
}

// quote has a shell take a word for what it is.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,@+", r)
	}
	if word != "" && strings.TrimLeftFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
