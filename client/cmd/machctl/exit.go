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
