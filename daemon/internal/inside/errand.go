package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// An errand is what takes the root of a machine whose ids we, an ordinary user,
// cannot take. Whoever made a user namespace may enter it and be root there, but
// no program of several threads can, and ours is one. So another process of our
// program does it, which nsenter(1) has brought there: see RunErrand.
//
// It gets the leader as a pidfd, and so talks of the same process as we do. Only
// a machine that shares our PID namespace has a process there that could get
// hold of it: what it answers is checked like anything else of a machine's.
type errand struct {
	Do      string // one of the following
	Machine string // its name
	Shell   Shell
}

// What errands are for, by the methods of Guard.
const (
	doOpenRoot   = "OpenRoot"
	doOpenPTY    = "OpenPTY"
	doStartLogin = "StartLogin"
	doStartShell = "StartShell"
)

// An outcome is the answer, and goes with a descriptor if there is no error.
type outcome struct {
	Error *machine1.RemoteError
}

// ErrandArgument is the argument that makes a program run RunErrand.
const ErrandArgument = "--in-namespace"

// The descriptors of an errand's process.
const (
	errandSocket  = iota // where the errand comes from and the outcome goes to
	_                    // standard output
	_                    // standard error
	errandUsers          // the user namespace
	errandProgram        // our program, wherever it is and whoever may go there
	errandLeader         // a pidfd
)

const (
	// errandLimit is how long an errand may take: a session, and the start of
	// a process on a busy host.
	errandLimit = sessionLimit + 2*time.Second
	// maxErrand and maxOutcome bound the messages, bytes. A caller's message
	// is 1 MiB at most; a control character in it becomes six bytes. An
	// outcome must fit into what the kernel passes on in one piece.
	maxErrand, maxOutcome = 8 << 20, 16 << 10
)

// takesErrand reports whether it takes an errand to be the machine's root.
func (g *Guard) takesErrand(leader *proc.PIDFD) bool {
	if !g.ofUser || leader == nil {
		return false
	}
	ours, err := leader.SameNamespace("user")
	if err != nil || ours {
		return false
	}
	root, err := rootOf(leader)
	return err == nil && !root.ours()
}

// terminalBy has e done, which is for a terminal.
func (g *Guard) terminalBy(ctx context.Context, leader *proc.PIDFD, e errand) (*PTY, error) {
	fd, err := g.send(ctx, leader, e)
	if err != nil {
		return nil, err
	}
	return newPTY(fd)
}

// send has e done and returns the descriptor that it was for, the caller's. The
// errands in one machine are as many at a time as copies are; one whose process
// cannot be ended stays one of them.
func (g *Guard) send(ctx context.Context, leader *proc.PIDFD, e errand) (fd int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, errandLimit, errHangs)
	defer cancel()
	key := keyOf(leader)
	l := g.errands.join(key)
	if err := l.enter(ctx); err != nil {
		g.errands.leave(key, l)
		if errors.Is(err, errHangs) {
			err = ErrBusy
		}
		return -1, err
	}
	ended := func() {
		<-l.turns
		g.errands.leave(key, l)
	}
	conn, kill, err := startErrand(leader, ended)
	if err != nil {
		ended()
		return -1, orGone(leader, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	fd, err = e.exchange(conn)
	if err == nil {
		return fd, nil
	}
	kill()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return -1, orGone(leader, err)
}

// startErrand starts the process of an errand and returns our end of its
// socket. ended is called when the process is gone, which may be a while after
// the outcome, unless it is not started.
func startErrand(leader *proc.PIDFD, ended func()) (conn *net.UnixConn, kill func(), err error) {
	files := []*os.File{} // from errandUsers on
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, open := range []func() (*os.File, error){
		func() (*os.File, error) { return leader.Namespace("user") },
		func() (*os.File, error) { return os.OpenFile("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0) },
		func() (*os.File, error) { return duplicate(leader) },
	} {
		f, err := open()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot enter the machine: %w", err)
		}
		files = append(files, f)
	}
	conn, theirs, err := socket.Pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot enter the machine: %w", err)
	}
	defer theirs.Close()
	// The kernel forgets about a death signal when ids change: this and its own
	// limits are what ends it.
	life, kill := context.WithTimeout(context.Background(), errandLimit+lateLimit)
	cmd := exec.CommandContext(life, "nsenter", "--user="+ownDescriptor(errandUsers), "--setuid=0", "--setgid=0",
		"--", ownDescriptor(errandProgram), ErrandArgument)
	cmd.Env = []string{} // nothing of ours
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = theirs, os.Stderr, files
	if err := cmd.Start(); err != nil {
		kill()
		conn.Close()
		return nil, nil, fmt.Errorf("cannot enter the machine: %w", err)
	}
	go func() { // outlives us if it is stuck
		_ = cmd.Wait()
		kill()
		ended()
	}()
	return conn, kill, nil
}

func ownDescriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func duplicate(leader *proc.PIDFD) (*os.File, error) {
	var dup int
	err := leader.WithFD(func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), "pidfd"), nil
}

// exchange tells the other end of conn to do e, and returns what came of it.
func (e errand) exchange(conn *net.UnixConn) (fd int, err error) {
	// Where that fails there is no process to read from either.
	_ = json.NewEncoder(conn).Encode(e)
	text, rights := make([]byte, maxOutcome), make([]byte, unix.CmsgSpace(4))
	n, rightsLen, _, _, err := conn.ReadMsgUnix(text, rights)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return -1, fmt.Errorf("cannot enter the machine's user namespace, the log of this daemon says why: %w", machine1.ErrDisconnected)
	}
	if err != nil {
		return -1, err
	}
	fd, err = passed(rights[:rightsLen])
	if err != nil {
		return -1, err
	}
	var o outcome
	err = json.Unmarshal(text[:n], &o)
	switch {
	case err == nil && o.Error != nil:
		err = o.Error
	case err == nil && fd < 0:
		err = errNoDescriptor
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return fd, err
}

var errNoDescriptor = errors.New("no descriptor came from the machine's user namespace")

// passed returns the descriptor that came in a control message, -1 if none did.
func passed(rights []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return -1, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1, err
	}
	for _, more := range fds[1:] {
		unix.Close(more)
	}
	return fds[0], nil
}
