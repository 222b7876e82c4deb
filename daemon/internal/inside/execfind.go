package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// searchPath is where programs are looked for if the environment does not say.
// The last two are where NixOS has them, and nobody else has anything.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/wrappers/bin:/run/current-system/sw/bin"

// FindProgram returns the path of the program that c is about, in the machine
// called name, or why there is none. It looks as a shell does. What it cannot
// tell from outside is for the machine to say.
func (g *Guard) FindProgram(ctx context.Context, leader *proc.PIDFD, name string, c Command) (program string, failed *machd.Outcome, err error) {
	type found struct {
		program string
		failure machd.Failure
	}
	f, err := below(ctx, g, leader, func(root *os.File) (f found, err error) {
		f.program, f.failure = findProgram(root, c)
		return f, nil
	}, nothing)
	if err != nil {
		return "", nil, fmt.Errorf("cannot look for %q in machine %s: %w", c.Args[0], name, err)
	}
	switch f.failure {
	case "":
		return f.program, nil, nil
	case machd.FailureNotFound:
		return "", &machd.Outcome{Failure: f.failure,
			Message: fmt.Sprintf("Cannot run %q %s: there is no such program", c.Args[0], whereIs(name))}, nil
	}
	return "", &machd.Outcome{Failure: f.failure,
		Message: fmt.Sprintf("Cannot run %q %s: it is no program", c.Args[0], whereIs(name))}, nil
}

func whereIs(machine string) string {
	if machine == machine1.Host {
		return "on this host"
	}
	return "in machine " + machine
}

func findProgram(root *os.File, c Command) (string, machd.Failure) {
	failure := machd.FailureNotFound
	for _, candidate := range candidates(root, c) {
		switch lookAtProgram(root, candidate) {
		case "":
			return candidate, ""
		case machd.FailureNotExecutable:
			failure = machd.FailureNotExecutable
		}
	}
	return "", failure
}

// candidates are the paths at which the program may be, absolute.
func candidates(root *os.File, c Command) (list []string) {
	name := c.Args[0]
	directory := c.Directory
	if strings.HasPrefix(name, "/") {
		return []string{name}
	}
	if directory == "" {
		directory = homeOf(root, c.User)
	}
	if strings.Contains(name, "/") {
		return []string{joined(directory, name)}
	}
	for _, element := range strings.Split(variable(c.Environment, "PATH", searchPath), ":") {
		if !strings.HasPrefix(element, "/") {
			element = joined(directory, element)
		}
		list = append(list, joined(element, name))
	}
	return list
}

// joined leaves ".." alone, which means another thing behind a link.
func joined(directory, name string) string { return strings.TrimSuffix(directory, "/") + "/" + name }

// variable returns the last value of name, usual if it has none.
func variable(environment []string, name, usual string) string {
	for _, assignment := range environment {
		if key, value, _ := strings.Cut(assignment, "="); key == name {
			usual = value
		}
	}
	return usual
}

// lookAtProgram returns why there can be no program at path, "" if there may be.
func lookAtProgram(root *os.File, path string) machd.Failure {
	f, err := rootfs.Lookup(root, path)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return machd.FailureNotFound
	case err != nil:
		return "" // on a file system that we may not look into, as of FUSE
	}
	defer f.Close()
	var stat unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &stat)
	if err == nil && (stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Mode&0o111 == 0) {
		return machd.FailureNotExecutable
	}
	return ""
}

// homeOf returns the home directory of a user by name or number, / if it is not
// known.
func homeOf(root *os.File, user string) string {
	if a, ok := accountOf(root, user); ok {
		return a.Home
	}
	return "/"
}
