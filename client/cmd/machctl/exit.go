package main

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// Exit codes. They are part of the interface: help exit-codes explains them.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitTimeout     = 5
	exitExists      = 6
	exitUnavailable = 7
	exitSignal      = 128 // and the signal's number
)

// Exit codes of what runs commands in machines, whose own are the rest.
const (
	exitOurs          = 125 // we failed, for whatever reason
	exitNotExecutable = 126
	exitNoCommand     = 127
)

// runsCommands are the verbs that exit as a command does.
var runsCommands = map[string]bool{"exec": true, "run": true, "shell": true}

const exitCodesHelp = `Exit codes

  0  Done.
  1  It failed for a reason that is not below, or several names failed for
     different ones.
  2  The command line is wrong; nothing was done.
  3  There is no such machine or image.
  4  You may not do that, or were not asked for a password.
  5  It took too long. It may still happen.
  6  There is a machine, an image or a file of that name already.
  7  The bus, machd or systemd cannot be reached.
  128+N  A login session was ended by signal N, other than SIGINT and SIGTERM,
     which end it with 0; 141 (SIGPIPE) if nobody took its output.

exec, run and shell exit with the command's own status:

  125  It failed before that, for any of the reasons above, or nobody can tell
       how the command ended.
  126  The command cannot be run.
  127  There is no such command in the machine.
  128+N  Signal N killed the command, or ended the shell's session as above.

The status of a shell on a terminal is not told, nor with machctl --user or
systemd-machined that of a command in one: 0 says that it was run.
Called as machinectl, the command exits with 0 or 1 only.
`

// exitCodes is searched from the top.
var exitCodes = []struct {
	err  error
	code int
}{
	{machine1.ErrNoSuchMachine, exitNotFound},
	{machine1.ErrNoSuchImage, exitNotFound},
	{machine1.ErrNoSuchTransfer, exitNotFound},
	{machine1.ErrMachineExists, exitExists},
	{machine1.ErrTransferInProgress, exitExists},
	{unix.EEXIST, exitExists},
	{machine1.ErrAccessDenied, exitDenied},
	{machine1.ErrInteractionRequired, exitDenied},
	{fs.ErrPermission, exitDenied},
	{machine1.ErrTimeout, exitTimeout},
	{machine1.ErrServiceUnknown, exitUnavailable},
	{machine1.ErrDisconnected, exitUnavailable},
	{machine1.ErrNoReply, exitUnavailable},
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	codes := map[int]bool{}
	for _, e := range flatten(err) {
		codes[codeOf(e)] = true
	}
	if len(codes) > 1 {
		return exitFailure
	}
	for code := range codes {
		return code
	}
	return exitFailure
}

func codeOf(err error) int {
	var usage usageError
	var status statusError
	var command *commandError
	switch {
	case errors.As(err, &command):
		return command.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &status):
		return int(status)
	}
	for _, row := range exitCodes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return exitFailure
}

// A usageError is a mistake on the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error {
	return usageError(fmt.Sprintf(format, args...))
}

// A statusError is an exit code that needs no words.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// A commandError says why a command in a machine has no status of its own.
type commandError struct {
	text string
	code int
}

func (e *commandError) Error() string { return e.text }

// asCommand returns the exit code of a verb that runs a command: what is not
// the command's own is told apart from it.
func asCommand(err error) int {
	var status statusError
	var command *commandError
	if err == nil || errors.As(err, &status) || errors.As(err, &command) {
		return exitCode(err)
	}
	return exitOurs
}

// failures is what went wrong with each of several names.
type failures []error

func (f failures) Error() string   { return fmt.Sprintf("%d failures", len(f)) }
func (f failures) Unwrap() []error { return f }

func (f failures) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// flatten returns the single errors that err holds.
func flatten(err error) []error {
	if several, ok := err.(failures); ok {
		return several
	}
	return []error{err}
}
