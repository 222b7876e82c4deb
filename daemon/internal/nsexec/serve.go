package nsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/session"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// serve runs one command until its end.
func (s *server) serve(conn *net.UnixConn) {
	b := &begin{server: s, deadline: time.Now().Add(enterLimit)}
	defer b.close()
	running, err := b.run(conn)
	closeAll(b.files) // the command has its own
	b.files = nil
	answerTo(conn, err)
	s.pool.refill()
	if err != nil {
		s.log.Debug("A command was not run.", "error", err)
		return
	}
	conn.Close()
	session.Serve(s.over, b.session, running, s.log)
}

func answerTo(conn *net.UnixConn, failure error) {
	var a answer
	if failure != nil {
		text := failure.Error()
		if len(text) > maxAnswer/8 { // a byte may become six
			text = strings.ToValidUTF8(text[:maxAnswer/8], "")
		}
		a.Error = &machine1.RemoteError{Name: machine1.ErrorName(failure), Text: text}
	}
	// Who does not take it has gone, and the session with him.
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_ = tell(conn, a, -1)
}

// A begin is a command that is about to run. What it holds when it is closed is
// given back.
type begin struct {
	server   *server
	deadline time.Time
	order    order

	files   []*os.File // of the order
	session *net.UnixConn
	release func()
	leader  *proc.PIDFD
	cgroup  *cgroup
}

func (b *begin) close() {
	closeAll(b.files)
	if b.session != nil {
		b.session.Close()
	}
	if b.release != nil {
		b.release()
	}
	b.leader.Close()
	if b.cgroup != nil {
		if err := b.cgroup.clear(context.Background()); err != nil {
			b.server.log.Warn("Cannot end what was begun in a machine.", "machine", b.order.Machine, "error", err)
		}
		b.cgroup.close()
	}
}

// run does what conn asks for.
func (b *begin) run(conn *net.UnixConn) (session.Running, error) {
	if err := b.take(conn); err != nil {
		return nil, err
	}
	if b.order.SSH.Address != "" {
		return b.runSSH()
	}
	spec := b.order.Spec
	if err := spec.like(b.leader); err != nil {
		return nil, err
	}
	root, err := b.leader.OpenRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := fmt.Sprintf("machd-exec-%x", b.server.number.Add(1))
	if b.cgroup, err = newCgroup(b.leader, name, b.server.records); err != nil {
		return nil, err
	}
	p, m, err := b.bear(spec, root)
	if err != nil {
		return nil, err
	}
	if failed := m.outcome(spec, b.order.Machine); failed != nil {
		<-p.ended // it has nothing else to do
		p.reap()
		p.PIDFD.Close()
		return session.Never(*failed), nil
	}
	b.leader, b.cgroup = nil, nil // the process's from now on
	return p, nil
}

// take reads the order, and makes what it brings ours.
func (b *begin) take(conn *net.UnixConn) error {
	if err := checkPeer(conn); err != nil {
		return err
	}
	if err := conn.SetDeadline(b.deadline); err != nil {
		return err
	}
	_, files, err := receive(conn, make([]byte, 1), orderFiles)
	if err != nil {
		return fmt.Errorf("cannot read what to run: %w", err)
	}
	b.files = files
	if len(files) != orderFiles {
		return fmt.Errorf("cannot read what to run: %w", unix.EBADMSG)
	}
	if err := fromMemory(files[orderText], &b.order); err != nil {
		return fmt.Errorf("cannot read what to run: %w", err)
	}
	if b.release, err = b.server.limits.Admit(b.order.Caller); err != nil {
		return err
	}
	if b.session, err = socket.Conn(files[orderSession]); err != nil {
		return err
	}
	files[orderSession].Close()
	if b.order.SSH.Address != "" {
		return nil
	}
	pidfd, err := unix.FcntlInt(files[orderLeader].Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	b.leader, err = proc.FromFD(pidfd)
	if errors.Is(err, unix.ESRCH) {
		return errGone
	}
	return err
}

// checkPeer lets root in, as which the daemon runs.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if peerErr != nil {
		return peerErr
	}
	if int(peer.Uid) != os.Geteuid() {
		return machine1.Errorf(machine1.ErrAccessDenied, "Only the machine manager enters machines")
	}
	return nil
}

// bear has a helper make the process, and waits until it runs the program or
// cannot.
func (b *begin) bear(s spec, root *os.File) (p *process, m mishap, err error) {
	h, err := b.server.pool.take()
	if err != nil {
		return nil, m, err
	}
	defer b.server.pool.discard(h)
	if err := h.conn.SetDeadline(b.deadline); err != nil {
		return nil, m, err
	}
	if err := h.send(s, b, root); err != nil {
		return nil, m, fmt.Errorf("cannot tell a helper what to run: %w", err)
	}
	packet := make([]byte, maxAnswer)
	n, files, err := receive(h.conn, packet, 1)
	defer closeAll(files)
	if errors.Is(err, io.EOF) {
		err = errors.New("a helper has failed, the log says why")
	}
	if err != nil {
		return nil, m, orGone(b.leader, err)
	}
	var born birth
	if err := json.Unmarshal(packet[:n], &born); err != nil {
		return nil, m, err
	}
	if born.Error != "" || len(files) != 1 {
		return nil, m, orGone(b.leader, errors.New(born.Error))
	}
	if p, err = b.adopt(files[0], born.PID); err != nil {
		return nil, m, err
	}
	n, err = h.conn.Read(packet)
	if err == nil {
		err = json.Unmarshal(packet[:n], &m)
	}
	if err != nil {
		// It hangs in a file system of the machine's: see close.
		b.server.abandon(p)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errSlow
		}
		return nil, m, orGone(b.leader, err)
	}
	return p, m, nil
}

// adopt watches over the process pid, a child of ours.
func (b *begin) adopt(pidfd *os.File, pid int) (*process, error) {
	dup, err := unix.FcntlInt(pidfd.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	own, err := proc.FromFD(dup)
	if err == nil && own.PID() != pid {
		own.Close()
		err = unix.ESRCH
	}
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	if err := b.server.watcher.Watch(own, func() { close(ended) }); err != nil {
		own.Close()
		return nil, err
	}
	return &process{PIDFD: own, machine: b.order.Machine, leader: b.leader, cgroup: b.cgroup, ended: ended, log: b.server.log}, nil
}

// abandon takes care of a process that is of no use any more, and of which
// nobody knows when it ends.
func (s *server) abandon(p *process) {
	go func() {
		<-p.ended
		p.reap()
		p.PIDFD.Close()
	}()
}

func (h *helper) send(s spec, b *begin, root *os.File) error {
	text, err := inMemory(s)
	if err != nil {
		return err
	}
	defer text.Close()
	fds := make([]int, helperFiles)
	fds[helperText], fds[helperRoot], fds[helperCgroup] = int(text.Fd()), int(root.Fd()), int(b.cgroup.dir.Fd())
	fds[helperLeader] = int(b.files[orderLeader].Fd())
	for i := range 3 {
		fds[helperStdio+i] = int(b.files[orderStdio+i].Fd())
	}
	_, _, err = h.conn.WriteMsgUnix([]byte{1}, unix.UnixRights(fds...), nil)
	return err
}

// orGone returns err, unless its cause is that the machine is gone.
func orGone(leader *proc.PIDFD, err error) error {
	if leader.Alive() {
		return err
	}
	return errGone
}
