package inside

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// A Boot is how far a machine has come, by what its files tell.
type Boot struct {
	Program string // what its leader runs, 15 bytes at most, chosen by itself
	Systemd bool   // the leader is a systemd that takes orders
	Bus     bool   // there is the socket of a system bus
	Users   bool   // its systemd has come to where users may log in
	NoLogin bool   // nobody but root may log in, as long as it boots or shuts down
}

// Boot looks how far the machine has come.
func (g *Guard) Boot(ctx context.Context, leader *proc.PIDFD) (Boot, error) {
	return below(ctx, g, leader, func(root *os.File) (b Boot, err error) {
		if leader != nil {
			if b.Program, err = program(leader); err != nil {
				return Boot{}, err
			}
		}
		b.Systemd = isThere(root, "run/systemd/private")
		b.Bus = slices.ContainsFunc(busSockets, func(path string) bool { return isThere(root, path) })
		b.Users = hasRun(root, "systemd-user-sessions.service")
		b.NoLogin = refusesLogins(root)
		return b, nil
	}, nothing)
}

// stub is what systemd-nspawn calls itself as the init of a command's: it waits
// for it, and no more.
const stub = "(sd-stubinit)"

// nspawn is the program as long as it is not the machine's own.
const nspawn = "systemd-nspawn"

// program returns the name of what the leader runs, or of what that is there
// for.
func program(leader *proc.PIDFD) (string, error) {
	name, err := leader.Comm()
	if err != nil || name != stub {
		return name, err
	}
	child, err := leader.Child()
	switch {
	case errors.Is(err, fs.ErrNotExist) && leader.Alive():
		return name, nil // this kernel does not tell
	case err != nil || child == nil:
		return nspawn, nil // it has ended, and the stub will, too
	}
	defer child.Close()
	if of, err := child.Comm(); err == nil {
		return of, nil
	}
	return nspawn, nil
}

// hasRun reports whether the machine's systemd has run a unit since it booted:
// it leaves a link that leads nowhere. Sockets, that of the bus among them, come
// before the unit that lets users log in.
func hasRun(root *os.File, unit string) bool {
	dir, err := rootfs.Lookup(root, "run/systemd/units")
	if err != nil {
		return false
	}
	defer dir.Close()
	var stat unix.Stat_t
	return unix.Fstatat(int(dir.Fd()), "invocation:"+unit, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func isThere(root *os.File, path string) bool {
	f, err := rootfs.Lookup(root, path)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// While a machine boots, its service manager is asked for its state every
// statePause at first, and less and less often up to lastStatePause: nobody is
// kept waiting much longer than it has taken, and the answers of an hour stay
// far below maxConversation.
const (
	statePause     = 10 * time.Millisecond
	lastStatePause = 500 * time.Millisecond
)

// AwaitState waits until the bus of the machine answers, and then tells enough
// the state of its service manager, such as "starting" or "running", again and
// again until enough reports that it is. It returns an error if nobody can be
// asked, which may be otherwise in a moment. Only ctx limits how long it takes.
//
// Anybody may wait for a machine, but not all at once: its bus lets its root
// have so many connections. Those who wait for their turn have it as soon as the
// machine has booted.
//
// A signal would tell when the boot is over, but needs a client that takes what
// the machine chooses to send.
func (g *Guard) AwaitState(ctx context.Context, leader *proc.PIDFD, enough func(state string) bool) error {
	key := keyOf(leader)
	l := g.states.join(key)
	defer g.states.leave(key, l)
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer func() { <-l.turns }()
	p, err := g.dialBus(ctx, leader)
	if err != nil {
		return err
	}
	defer p.Close()
	for pause := statePause; ; pause = min(pause+pause/10, lastStatePause) {
		state, err := p.systemState(ctx)
		if err != nil {
			return err
		}
		if enough(state) {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// systemState returns "" while the service manager has not come to the bus.
func (p *peer) systemState(ctx context.Context) (string, error) {
	state, err := p.word(ctx, manager.Path, managerInterface, "SystemState")
	var remote *machine1.RemoteError
	if errors.As(err, &remote) && isNobody(remote) {
		return "", nil
	}
	return state, err
}
