package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// maxPasswd bounds the list of users that is read, bytes.
const maxPasswd = 256 << 10

// doubtful reports whether s may well not run in the machine: its list of users
// lacks the user, there is no such program, or it is no time for logins. That
// decides nothing, as users may be known by other means and the files may lie.
// It only tells the shells that are worth waiting for: a terminal must have
// reached its owner before the program asks for the terminal's size.
func (g *Guard) doubtful(ctx context.Context, leader *proc.PIDFD, s Shell) bool {
	look := func(root *os.File) (bool, error) {
		return canRun(root, s.Path) && knowsUser(root, s.User) && (s.User == defaultUser || !refusesLogins(root)), nil
	}
	fine, err := below(ctx, g, leader, look, nothing)
	return err != nil || !fine
}

func canRun(root *os.File, path string) bool {
	f, err := rootfs.Lookup(root, path)
	if err != nil {
		return false
	}
	defer f.Close()
	var stat unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &stat)
	return err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Mode&0o111 != 0
}

// knowsUser looks for a user by name or number.
func knowsUser(root *os.File, user string) bool {
	if user == defaultUser {
		return true
	}
	text, err := rootfs.ReadFile(root, "etc/passwd", maxPasswd)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		const name, number = 0, 2
		fields := strings.Split(line, ":")
		if len(fields) > number && (fields[name] == user || fields[number] == user) {
			return true
		}
	}
	return false
}

// refusesLogins looks for what keeps all users but root out, as it does while a
// machine boots.
func refusesLogins(root *os.File) bool {
	return slices.ContainsFunc([]string{"run/nologin", "etc/nologin"}, func(path string) bool {
		f, err := rootfs.Lookup(root, path)
		if err == nil {
			f.Close()
		}
		return err == nil
	})
}

const (
	// outcomeLimit is how long to wait for a program's start. It can be long,
	// in a machine that boots: the terminal is handed out all the same then, as
	// systemd-machined does at once.
	outcomeLimit = 3 * time.Second

	firstLook, longestPause = 5 * time.Millisecond, 100 * time.Millisecond
)

// errNotStarted says that the program was not run, and why.
var errNotStarted = errors.New("not started")

// startAndSee starts the unit and waits until its program runs or cannot run.
//
// The answer comes as the error of the call: whoever called learns it by the
// means that he has for errors, and is not left with a terminal on which
// nothing happens.
func (u shellUnit) startAndSee(ctx context.Context, m serviceManager) error {
	// The unit counts as started when the program runs, not before, and is
	// there to be asked until we hang up.
	err := u.start(ctx, m, property("Type", "exec"), property("AddRef", true))
	var remote *machine1.RemoteError
	if errors.As(err, &remote) && !isNobody(remote) {
		return u.start(ctx, m) // by a systemd older than 240
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, outcomeLimit)
	defer cancel()
	for pause := firstLook; ; pause = min(2*pause, longestPause) {
		status, err := u.outcome(ctx, m)
		if err == nil && status != 0 {
			return u.refusal(status)
		}
		if err == nil || !errors.Is(err, errUndecided) {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// errUndecided says that the program neither runs nor failed to.
var errUndecided = errors.New("undecided")

// outcome returns 0 if the program was run, and otherwise the status that says
// why not. A program can end with any of these, so having been active counts;
// that it is asked last matters.
func (u shellUnit) outcome(ctx context.Context, m serviceManager) (status int64, err error) {
	status, err = m.number(ctx, u.path(), serviceInterface, "ExecMainStatus")
	if err != nil {
		return 0, err
	}
	active, err := m.number(ctx, u.path(), unitInterface, "ActiveEnterTimestampMonotonic")
	switch {
	case err != nil:
		return 0, err
	case active != 0:
		return 0, nil
	case status == 0:
		return 0, errUndecided
	}
	return status, nil
}

// What systemd.exec(5) calls process exit codes.
const (
	statusExec = 203
	statusUser = 217
	statusPAM  = 224
)

// refusal is the error that status stands for.
func (u shellUnit) refusal(status int64) error {
	kind, text := error(nil), ""
	switch status {
	case statusUser:
		kind = machine1.ErrInvalidArgs
		text = fmt.Sprintf(`There is no user %q in machine %s; "getent passwd", run there, lists the users`, u.User, u.machine)
	case statusExec:
		kind = machine1.ErrInvalidArgs
		text = fmt.Sprintf("Cannot run %q in machine %s: there is no such program, or user %q may not run it", u.Path, u.machine, u.User)
	case statusPAM:
		kind = machine1.ErrAccessDenied
		text = fmt.Sprintf("Machine %s does not let user %q in: the account is locked, or the machine is still booting", u.machine, u.User)
	default:
		text = fmt.Sprintf("Cannot run %q in machine %s: its service manager ended with status %d before", u.Path, u.machine, status)
	}
	return machine1.Errorf(errors.Join(errNotStarted, kind), "%s", text)
}
