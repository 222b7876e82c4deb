// Package payload is the first process of a machine that runs one command
// instead of an init: the command's parent, which does what the kernel wants of
// a first process and tells how the command ended. systemd-nspawn tells that of
// a command only by and large: not which signal killed it, and not that there is
// no such program.
//
// It runs in the machine, as this program, which the machine sees at Path. It
// gets the session of pkg/machd as the one descriptor that systemd-nspawn passes
// on. Whatever it says there the machine may have said itself.
package payload

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// Argument makes a program run Run.
const Argument = "--payload"

// Path is where the machine has the program. systemd-nspawn has a file system of
// its own there.
const Path = "/run/machd-payload"

// Command returns what a machine that runs argv executes.
func Command(argv []string) []string { return append([]string{Path, Argument}, argv...) }

// sessionFD is the first of the descriptors that a service manager passes on.
const sessionFD = 3

// rebootStatus is what systemd-nspawn takes for the wish to be started again.
const rebootStatus = 133

// Run runs argv and returns the status to exit with. Nobody but the machine's
// first process may call it.
func Run(argv []string) int {
	unix.CloseOnExec(sessionFD)
	s := &session{fd: sessionFD}
	if len(argv) == 0 {
		return s.refuse(machd.FailureNotFound, "no command was given")
	}
	pid, err := start(argv)
	if err != nil {
		failure := failureOf(err)
		return s.refuse(failure, fmt.Sprintf("Cannot run %q in the machine: %s", argv[0], reasonOf(failure, err)))
	}
	go s.obey(pid)
	go heedSignals()
	return s.tell(reap(pid))
}

// start starts the command with our own standard streams. On a terminal it is
// what the terminal's signals are for.
func start(argv []string) (pid int, err error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, err
	}
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attributes.Foreground = true
	}
	pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env: environment(os.Environ()), Files: []uintptr{0, 1, 2}, Sys: attributes,
	})
	if err != nil {
		return 0, os.NewSyscallError("exec", err)
	}
	return pid, nil
}

// environment is without what was for us.
func environment(ours []string) []string {
	var env []string
	for _, assignment := range ours {
		name, _, _ := strings.Cut(assignment, "=")
		if name != "LISTEN_FDS" && name != "LISTEN_PID" && name != "LISTEN_FDNAMES" && name != "NOTIFY_SOCKET" {
			env = append(env, assignment)
		}
	}
	return env
}

func failureOf(err error) machd.Failure {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return machd.FailureNotFound
	}
	return machd.FailureNotExecutable
}

// reasonOf says what exec does elsewhere: Go would speak of its own path.
func reasonOf(failure machd.Failure, err error) string {
	var search *exec.Error
	switch {
	case failure == machd.FailureNotFound:
		return "there is no such program"
	case errors.Is(err, unix.ENOEXEC):
		return "it is no program"
	case errors.As(err, &search):
		err = search.Err
	}
	return err.Error()
}

// reap waits for the command and, until then, for all whose parents have ended.
func reap(command int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && pid == command {
			return status
		}
	}
}
