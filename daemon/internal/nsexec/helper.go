package nsexec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/socket"
)

// The descriptors that a helper gets with its one packet.
const (
	helperText = iota // the spec
	helperLeader
	helperRoot
	helperCgroup
	helperStdio // three
	helperFiles = helperStdio + 3
)

// A birth is the helper's first answer, with a pidfd if there is a process. Then
// comes a mishap, the zero one if the command runs.
type birth struct {
	PID   int
	Error string
}

// RunHelper is the whole program of a helper: it waits for what to become, makes
// the process, tells its parent, and ends.
func RunHelper() error {
	server := os.NewFile(0, "server")
	conn, err := socket.Conn(server)
	if err != nil {
		return fmt.Errorf("%s is for the daemon itself: %w", HelperArgument, err)
	}
	defer conn.Close()
	_, files, err := receive(conn, make([]byte, 1), helperFiles)
	if errors.Is(err, io.EOF) {
		return nil // not needed any more
	}
	if err == nil && len(files) != helperFiles {
		err = unix.EBADMSG
	}
	if err != nil {
		return err
	}
	b, pidfd, reports := become(files)
	if err := tell(conn, b, pidfd); err != nil || b.PID == 0 {
		return err
	}
	var m mishap
	// Nothing comes if the program runs: the end of the pipe is closed then.
	_ = binary.Read(reports, binary.NativeEndian, &m)
	return tell(conn, m, -1)
}

// become makes the process. The end of reports that the process has is closed
// here.
func become(files []*os.File) (b birth, pidfd int, reports *os.File) {
	fail := func(err error) (birth, int, *os.File) { return birth{Error: err.Error()}, -1, nil }
	var s spec
	if err := fromMemory(files[helperText], &s); err != nil {
		return fail(fmt.Errorf("cannot read what to run: %w", err))
	}
	c, err := newChild(s)
	if err != nil {
		return fail(err)
	}
	reports, report, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer report.Close()
	c.report = int(report.Fd())
	c.leader, c.root, c.cgroup = int(files[helperLeader].Fd()), int(files[helperRoot].Fd()), int(files[helperCgroup].Fd())
	for i := range c.stdio {
		c.stdio[i] = int(files[helperStdio+i].Fd())
	}
	type result struct {
		pid, pidfd int
		err        error
	}
	done := make(chan result)
	go func() {
		pid, pidfd, err := c.start()
		done <- result{pid, pidfd, err}
		select {} // the thread is of no use to others
	}()
	r := <-done
	if r.err != nil {
		return fail(r.err)
	}
	return birth{PID: r.pid}, r.pidfd, reports
}

// tell sends v, and with it a descriptor unless that is negative.
func tell(conn *net.UnixConn, v any, fd int) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err = conn.WriteMsgUnix(text, rights, nil)
	return err
}

// outcome is what a mishap means for who has had s run in a machine, nil if
// nothing has happened.
func (m mishap) outcome(s spec, machine string) *machd.Outcome {
	errno := unix.Errno(m.Errno)
	where := "in machine " + machine
	switch {
	case m.Stage == stageNone:
		return nil
	case m.Stage == stageProgram && (errno == unix.ENOENT || errno == unix.ENOTDIR):
		return &machd.Outcome{Failure: machd.FailureNotFound,
			Message: fmt.Sprintf("Cannot run %q %s: the program, or what it is to be run by, is not there", s.Program, where)}
	case m.Stage == stageProgram:
		return &machd.Outcome{Failure: machd.FailureNotExecutable,
			Message: fmt.Sprintf("Cannot run %q %s as user %d: %v", s.Program, where, s.UID, errno)}
	case m.Stage == stageDirectory:
		return &machd.Outcome{Failure: machd.FailureRefused,
			Message: fmt.Sprintf("Cannot run %q in directory %q %s: %v", s.Args[0], s.Directory, where, errno)}
	case m.Stage == stageUser && errno == unix.EINVAL, m.Stage == stageGroups && errno == unix.EINVAL:
		return &machd.Outcome{Failure: machd.FailureRefused,
			Message: fmt.Sprintf("Cannot run %q %s as user %d: the machine has no such user ID", s.Args[0], where, s.UID)}
	}
	return &machd.Outcome{Failure: machd.FailureRefused,
		Message: fmt.Sprintf("Cannot run %q %s: cannot %s: %v", s.Args[0], where, m.Stage, errno)}
}
