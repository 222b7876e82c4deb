// Package nsexec runs commands in machines that have no service manager to ask:
// it enters their namespaces. The daemon may not do that, and what confines the
// daemon must not confine the commands; so a service of its own does, which the
// same program is and which goes away when it has nothing to do.
//
// A command there gets what the machine's leader has: its namespaces, its root
// directory, no capability that the leader cannot have, its limits, and a cgroup
// below its own. It does not get the leader's system call filter, which nobody
// can be asked for.
//
//	daemon --- Entry ---> server --- spec ---> helper --- clone ---> command
//
// The helper is a fresh process for each command: for a moment a copy of its
// memory and descriptors can be seen in the machine, and must hold nothing of
// others. The command's parent is the server, which holds the session from then
// on, so that the daemon may be replaced meanwhile. Nothing here knows who may
// run what.
package nsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// The first arguments that make the program run RunServer and RunHelper.
const (
	ServerArgument = "--exec-server"
	HelperArgument = "--exec-helper"
)

// Socket is where the server listens, or PID 1 for it.
const Socket = "/run/machd/exec.socket"

const (
	// enterLimit is how long it may take until a command runs, with the start of
	// the server.
	enterLimit = 5 * time.Second
	// maxAnswer bounds an answer, bytes, so that it is one packet.
	maxAnswer = 8 << 10
)

// An order is what the daemon has the server run. It goes in a file of memory,
// since it may be larger than a packet, and with orderFiles.
type order struct {
	Machine string
	Caller  uint32
	User    string // it runs as, for SSH
	SSH     SSH    // the way in, if it is not that of the leader's namespaces
	Spec    spec
}

// The descriptors that come with an order.
const (
	orderText = iota
	orderLeader
	orderSession
	orderStdio // three
	orderFiles = orderStdio + 3
)

// An answer says that the command runs, or why it does not.
type answer struct{ Error *machine1.RemoteError }

// An Entry is a command that nobody in the machine can be asked to run. Its
// files and leader stay the caller's.
type Entry struct {
	Machine string
	Caller  uint32      // the user whose command it is
	Leader  *proc.PIDFD // nil if SSH is the way in
	SSH     SSH
	Program string // absolute path, inside
	Command inside.Command
	Account inside.Account // of the user it runs as
	Socket  *os.File       // the session's, from session.Pair
}

// A Client has commands run by the server that listens at Path.
type Client struct{ Path string }

// Enter has e run. Whoever has the other end of its socket then holds it.
func (c Client) Enter(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeoutCause(ctx, enterLimit, errSlow)
	defer cancel()
	err := c.enter(ctx, e)
	var remote *machine1.RemoteError
	switch {
	case err == nil, errors.As(err, &remote):
		return err
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("cannot run %q in machine %s: %w", e.Command.Args[0], e.Machine, err)
}

var errSlow = fmt.Errorf("it does not begin, the machine's file system may not answer: %w", machine1.ErrTimeout)

func (c Client) enter(ctx context.Context, e Entry) error {
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, "unixpacket", c.Path)
	if err != nil {
		return fmt.Errorf("machd-exec.socket, where that is done, cannot be reached: %w", err)
	}
	conn := dialed.(*net.UnixConn)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := send(conn, e); err != nil {
		return err
	}
	text := make([]byte, maxAnswer)
	n, err := conn.Read(text)
	if errors.Is(err, io.EOF) {
		err = errors.New("machd-exec.service, which does that, has failed; its log says why")
	}
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(text[:n], &a); err != nil {
		return err
	}
	if a.Error != nil {
		return a.Error
	}
	return nil
}

func send(conn *net.UnixConn, e Entry) error {
	text, err := inMemory(orderOf(e))
	if err != nil {
		return err
	}
	defer text.Close()
	fds := make([]int, orderFiles)
	fds[orderText], fds[orderSession] = int(text.Fd()), int(e.Socket.Fd())
	for i, f := range e.Command.Stdio {
		fds[orderStdio+i] = int(f.Fd())
	}
	write := func(leader int) error {
		fds[orderLeader] = leader
		_, _, err := conn.WriteMsgUnix([]byte{1}, unix.UnixRights(fds...), nil)
		return err
	}
	if e.Leader == nil {
		return write(fds[orderText]) // something has to be there
	}
	return e.Leader.WithFD(write)
}

func orderOf(e Entry) order {
	c, a := e.Command, e.Account
	if e.SSH.Address != "" {
		s := spec{Args: c.Args, Env: inside.LastOfEach(c.Environment), Directory: c.Directory, Terminal: c.Terminal != nil}
		if c.Shell {
			s.Args = nil
		}
		return order{Machine: e.Machine, Caller: e.Caller, User: c.User, SSH: e.SSH, Spec: s}
	}
	s := spec{
		Program: e.Program, Args: c.Args,
		Env:       environment(a, c.Environment),
		Directory: c.Directory,
		UID:       a.UID, GID: a.GID, Groups: a.Groups,
		Terminal: c.Terminal != nil,
	}
	if c.Shell {
		s.Program, s.Args = a.Shell, []string{"-" + path.Base(a.Shell)}
	}
	if s.Directory == "" {
		s.Directory, s.ElseRoot = a.Home, true
	}
	return order{Machine: e.Machine, Caller: e.Caller, User: c.User, Spec: s}
}

// environment is what a service manager would give, and then what the caller
// wants.
func environment(a inside.Account, wanted []string) []string {
	list := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + a.Home, "USER=" + a.Name, "LOGNAME=" + a.Name, "SHELL=" + a.Shell,
	}
	return inside.LastOfEach(append(list, wanted...))
}

// inMemory returns v as a file.
func inMemory(v any) (*os.File, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if _, err := f.Write(text); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write to a file in memory: %w", err)
	}
	return f, nil
}

// fromMemory reads what inMemory has made.
func fromMemory(f *os.File, v any) error {
	const maxOrder = 16 << 20 // a caller's message is 1 MiB, a byte may become six
	return json.NewDecoder(io.NewSectionReader(f, 0, maxOrder)).Decode(v)
}

// receive reads one packet with its descriptors, which are the caller's.
func receive(conn *net.UnixConn, packet []byte, maxFiles int) (n int, files []*os.File, err error) {
	rights := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, rightsLen, flags, _, err := conn.ReadMsgUnix(packet, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = unix.EMSGSIZE
	}
	files, parseErr := socket.Files(rights[:rightsLen])
	if err = errors.Join(err, parseErr); err != nil {
		closeAll(files)
		return 0, nil, err
	}
	return n, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
