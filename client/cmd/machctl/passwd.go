package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/child"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// locked is what stands in the place of a password that none is.
const locked = "!*"

// passwd sets a password in an image, or in the machine that runs from it.
func (a *app) passwd(ctx context.Context, args []string) error {
	name, user := args[0], "root"
	if len(args) > 1 {
		user = args[1]
	}
	if !machine1.ValidImageName(name) {
		return usagef("%q cannot be an image's name", name)
	}
	if user == "" || strings.ContainsAny(user, ":\n") {
		return usagef("%q cannot be a user's name", user)
	}
	if a.lockAccount && a.passwordFile != "" {
		return usagef("--lock and a password exclude each other")
	}
	if err := a.connectToAct(ctx, machd.ActionManageImages); err != nil {
		return err
	}
	runs, err := a.runs(ctx, name)
	if err != nil {
		return err
	}
	if !runs {
		if err := a.changeable(ctx, name); err != nil {
			return err
		}
	}
	password := ""
	if !a.lockAccount {
		if password, err = a.readPassword(user + " of " + name); err != nil {
			return err
		}
	}
	if runs {
		a.action = machd.ActionExec
		err = a.passwdInside(ctx, name, user, password)
	} else {
		err = a.passwdImage(ctx, name, user, password)
	}
	if err == nil {
		what := "is set"
		if a.lockAccount {
			what = "is locked"
		}
		a.ui.notice(fmt.Sprintf("the password of %s in %s %s", user, name, what))
	}
	return err
}

// changeable says of an image, before anybody is asked for a password, why none can
// be set.
func (a *app) changeable(ctx context.Context, name string) error {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	i, err := a.client.Image(ctx, name)
	if err != nil {
		return err
	}
	why, hint := "it is read-only", makeWritable(name)
	switch {
	case name == machine1.Host:
		why, hint = "it is this host", "passwd(1) sets passwords of the host"
	case i.ReadOnly && (strings.HasPrefix(name, ".") || strings.HasPrefix(i.Path, "/usr/")):
		why, hint = "it is kept as it is", fmt.Sprintf(`"machctl clone %s NEW" makes one that can be changed`, name)
	case !i.ReadOnly:
		return nil
	}
	return &hintedError{machine1.Errorf(unix.EROFS, "cannot set a password in image %q: %s", name, why), hint}
}

// runs tells whether there is a machine of that name.
func (a *app) runs(ctx context.Context, name string) (bool, error) {
	if !machine1.ValidMachineName(name) {
		return false, nil
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	_, err := a.client.Machine(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchMachine) {
		return false, nil
	}
	return err == nil, err
}

// passwdImage sets it in the image, and locks the account if it is "".
func (a *app) passwdImage(ctx context.Context, name, user, password string) (err error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	if password == "" {
		err = a.client.SetPasswordHash(ctx, name, user, locked)
	} else {
		err = a.client.SetPassword(ctx, name, user, password)
	}
	if errors.Is(err, unix.EROFS) {
		return &hintedError{err, makeWritable(name)}
	}
	return err
}

func makeWritable(name string) string {
	return fmt.Sprintf(`"machctl read-only %s no" makes it writable`, name)
}

// usesYescrypt finds out whether a system hashes passwords by yescrypt itself, as
// the daemon does of one that does not run (daemon/internal/account/password.go).
var usesYescrypt = []string{
	"grep", "-qsiE", `^[[:space:]]*ENCRYPT_METHOD[[:space:]]+"?yescrypt|^[^#]*pam_unix[.]so.*[[:space:]]yescrypt`,
	"/etc/login.defs", "/usr/etc/login.defs", "/etc/pam.d/common-password", "/etc/pam.d/system-auth",
}

// hashFor hashes a password as the machine's system does, if that can be found out,
// and "" as what no password has.
func (a *app) hashFor(ctx context.Context, name, password string) (string, error) {
	switch {
	case password == "":
		return locked, nil
	case a.host.given: // ssh may ask for a password each time
		return client.HashPassword(password), nil
	}
	outcome, _, err := a.askInside(ctx, name, usesYescrypt, nil)
	if err != nil {
		return "", err
	}
	if outcome.Exit != nil && *outcome.Exit == 0 {
		return client.HashPasswordYescrypt(password)
	}
	return client.HashPassword(password), nil
}

// passwdInside has the machine's own program set it, and lock the account if it is
// "".
func (a *app) passwdInside(ctx context.Context, name, user, password string) error {
	hash, err := a.hashFor(ctx, name, password)
	if err != nil {
		return err
	}
	if a.host.given {
		return a.passwdByHost(name, user, hash)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	_, err = writer.WriteString(user + ":" + hash + "\n")
	writer.Close()
	if err != nil {
		return err
	}
	outcome, said, err := a.askInside(ctx, name, []string{"chpasswd", "-e"}, reader)
	switch {
	case err != nil:
		return err
	case outcome.Failure == machd.FailureNotFound:
		return noChpasswd(name, user)
	case outcome.Failure != "":
		return fmt.Errorf("cannot set the password of %s in %q: %s", user, name, outcome.Message)
	case outcome.Exit == nil || *outcome.Exit != 0:
		return &loggedError{chpasswdFailed(name, user), said}
	}
	return nil
}

// askInside runs a program of the machine that takes but a moment. It has nothing of
// ours but its input: nobody has asked for a command of the machine's. What it has
// said are its last lines.
func (a *app) askInside(ctx context.Context, name string, args []string, in *os.File) (outcome machd.Outcome, said []string, err error) {
	words := &child.Words{}
	var files streams
	defer files.close()
	out, err := files.output(words)
	if err != nil {
		return outcome, nil, err
	}
	begin, cancel := a.limit(ctx)
	defer cancel()
	running, err := a.client.Exec(begin, name, client.ExecCommand{Args: args, Stdin: in, Stdout: out, Stderr: out})
	if err != nil {
		return outcome, nil, err
	}
	defer running.Close()
	files.begin()
	wait, cancel := a.limit(ctx)
	defer cancel()
	outcome, err = running.Wait(wait)
	files.finish()
	if errors.Is(err, context.DeadlineExceeded) {
		err = machine1.Errorf(machine1.ErrTimeout, "%s in %q takes too long, and was ended", args[0], name)
	}
	return outcome, strings.FieldsFunc(words.String(), func(r rune) bool { return r == '\n' }), err
}

// passwdByHost has machctl on another host run the machine's program.
func (a *app) passwdByHost(name, user, hash string) error {
	args := []string{name, "--", "chpasswd", "-e"}
	far := farCommand{verb: "passwd", words: append([]string{"exec"}, args...)}
	if a.host.Container != "" {
		far.words = append([]string{"--machine=" + a.host.Container}, far.words...)
	}
	if a.user {
		far.words = append([]string{"--user"}, far.words...)
	}
	if a.standInsHelp() {
		far.instead = a.systemdRun(args)
	}
	err := a.runRelayed(far, strings.NewReader(user+":"+hash+"\n"), os.Stderr)
	var status statusError
	switch {
	case !errors.As(err, &status) || status > exitSignal:
		return err
	case status == exitOurs: // and why, is said
		return fmt.Errorf("the password of %s in %q is as it was", user, name)
	case status == exitNoCommand:
		return noChpasswd(name, user)
	}
	return chpasswdFailed(name, user)
}

func noChpasswd(name, user string) error {
	return &hintedError{
		fmt.Errorf("cannot set the password of %s in %q: the machine has no chpasswd", user, name),
		fmt.Sprintf(`without the machine running, nothing of it is needed: "machctl stop %s" first`, name),
	}
}

func chpasswdFailed(name, user string) error {
	return fmt.Errorf("cannot set the password of %s in %q: its chpasswd says no", user, name)
}

// askPassword asks twice on the terminal, which shows nothing of the answers.
func (a *app) askPassword(of string) (string, error) {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", usagef("there is no terminal to ask for the password on: --password-file says where it is")
	}
	defer terminal.Close()
	var answers [2]string
	for i, prompt := range []string{"New password of " + of, "The same again"} {
		if answers[i], err = readSecret(terminal, printable(prompt)+": "); err != nil {
			return "", err
		}
	}
	switch {
	case answers[0] != answers[1]:
		return "", errors.New("the passwords are not the same; nothing was changed")
	case answers[0] == "":
		return "", errors.New("there is no password; nothing was changed")
	}
	return answers[0], nil
}

// readSecret reads a line that is not shown. A signal leaves the terminal as it
// was.
func readSecret(terminal *os.File, prompt string) (string, error) {
	saved, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("cannot ask for the password: %w", err)
	}
	hidden := *saved
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	restore := func() { _ = unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, saved) }
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, interrupts...)
	done := make(chan struct{})
	defer func() {
		close(done)
		signal.Stop(signals)
		restore()
		_, _ = terminal.WriteString("\n")
	}()
	go func() {
		select {
		case s := <-signals:
			restore()
			signal.Stop(signals)
			endBy(s.(unix.Signal))
		case <-done:
		}
	}()
	if err := unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETSF, &hidden); err != nil {
		return "", fmt.Errorf("cannot ask for the password: %w", err)
	}
	if _, err := terminal.WriteString(prompt); err != nil {
		return "", fmt.Errorf("cannot ask for the password: %w", err)
	}
	line, err := bufio.NewReader(terminal).ReadString('\n')
	if err != nil {
		return "", errors.New("no password was given; nothing was changed")
	}
	return strings.TrimSuffix(line, "\n"), nil
}
