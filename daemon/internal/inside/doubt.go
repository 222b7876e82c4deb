package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
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
	_, known := findAccount(root, user)
	return known || user == defaultUser
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
	// replyMargin is what is left of the time for a session when a program's
	// start is no longer waited for.
	replyMargin = time.Second
	// lateLimit is how long it is watched after that.
	lateLimit = time.Minute
	// maxLate bounds the programs that are watched at a time.
	maxLate = 16

	firstLook, longestPause = 5 * time.Millisecond, 200 * time.Millisecond
)

// errNotStarted says that the program was not run, and why.
var errNotStarted = errors.New("not started")

// startAndSee starts the unit and waits until its program runs or cannot run.
// That it cannot is the error: whoever called learns it by the means that he
// has for errors, and is not left with a terminal on which nothing happens.
//
// The start can take long, in a machine that boots. The terminal is handed out
// all the same then, as systemd-machined does at once, and the error goes to
// where its owner looks by then: onto the terminal. It reports whether that
// has taken over m.
func (u shellUnit) startAndSee(ctx context.Context, g *Guard, m serviceManager) (keepsManager bool, err error) {
	// The unit counts as started when the program runs, not before, and is
	// there to be asked until we hang up.
	err = u.start(ctx, m, property("Type", "exec"), property("AddRef", true))
	var remote *machine1.RemoteError
	if errors.As(err, &remote) && !isNobody(remote) {
		return false, u.start(ctx, m) // by a systemd older than 240
	}
	if err != nil {
		return false, err
	}
	deadline, _ := ctx.Deadline() // of the session
	patience, cancel := context.WithDeadline(ctx, deadline.Add(-replyMargin))
	defer cancel()
	if err := u.await(ctx, m, patience.Done()); !errors.Is(err, errUndecided) {
		return false, err
	}
	return u.tellLate(g, m), nil
}

// await returns nil if the program runs, or nothing can be learnt of it.
func (u shellUnit) await(ctx context.Context, m serviceManager, patience <-chan struct{}) error {
	for pause := firstLook; ; pause = min(2*pause, longestPause) {
		status, err := u.outcome(ctx, m)
		switch {
		case err == nil && status != 0:
			return u.refusal(status)
		case !errors.Is(err, errUndecided):
			return nil
		}
		select {
		case <-time.After(pause):
		case <-patience:
			return errUndecided
		}
	}
}

// tellLate goes on to watch the unit on a goroutine that ends by itself, and
// writes onto the terminal why its program cannot run. It takes over m, unless
// too many are watched already.
func (u shellUnit) tellLate(g *Guard, m serviceManager) bool {
	// Another opening of the terminal, as not to block must be ours alone: the
	// machine may have filled the terminal, and its owner need not read it.
	tty, err := u.pty.Peer()
	if err != nil {
		return false
	}
	if err := unix.SetNonblock(int(tty.Fd()), true); err != nil {
		tty.Close()
		return false
	}
	select {
	case g.late <- struct{}{}:
	default:
		tty.Close()
		return false
	}
	go func() {
		defer func() { <-g.late }()
		defer m.Close()
		defer tty.Close()
		ctx, cancel := context.WithTimeout(context.Background(), lateLimit)
		defer cancel()
		if err := u.await(ctx, m, ctx.Done()); err != nil && !errors.Is(err, errUndecided) {
			fmt.Fprintf(tty, "%s\r\n", err)
		}
	}()
	return true
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
	where := whereIs(u.machine)
	kind, text := error(nil), "" // machinectl shows no text with AccessDenied
	switch status {
	case statusUser:
		kind = machine1.ErrInvalidArgs
		text = fmt.Sprintf(`There is no user %q %s; "getent passwd", run there, lists the users`, u.User, where)
	case statusExec:
		kind = machine1.ErrInvalidArgs
		text = fmt.Sprintf("Cannot run %q %s: there is no such program, or user %q may not run it", u.Path, where, u.User)
	case statusPAM:
		text = fmt.Sprintf("User %q may not log in %s: the account is locked, or the system is still booting", u.User, where)
	default:
		text = fmt.Sprintf("Cannot run %q %s: starting it ended with status %d", u.Path, where, status)
	}
	return machine1.Errorf(errors.Join(errNotStarted, kind), "%s", text)
}
