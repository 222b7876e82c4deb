package relay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	ossignal "os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/child"
)

const (
	// hangUpLimit is how long a command may take to end that has nobody any
	// more.
	hangUpLimit = 5 * time.Second
	// restLimit is how long what an ended command has written may take to come.
	restLimit = 500 * time.Millisecond
)

// Serve is the far end: it runs a command for whoever is at the other end of in
// and out, and returns its exit status. A connection that is lost is a hang-up.
func Serve(in io.Reader, out io.Writer, cmd *exec.Cmd) (status int, err error) {
	if _, err := fmt.Fprintln(out, helloFrames); err != nil {
		return 0, err
	}
	// A lost connection is to be noticed, not to end us.
	ossignal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	f := &farEnd{frames: frames{w: out}, inbox: newInbox()}
	pipes, err := f.start(cmd)
	if err != nil {
		return 0, err
	}
	var copying sync.WaitGroup
	copying.Go(func() { f.sendOutput(pipes.output) })
	go f.feed(pipes.input)
	go func() {
		f.obey(bufio.NewReaderSize(in, maxPayload))
		// Its input does not end: what has come of it is not all.
		f.command.Signal(syscall.SIGHUP)
		time.Sleep(hangUpLimit)
		f.command.Signal(syscall.SIGKILL)
	}()
	status = f.command.Status()
	_ = pipes.output.SetReadDeadline(time.Now().Add(restLimit))
	copying.Wait()
	return status, f.sendNumber(exited, status)
}

type farEnd struct {
	frames
	command *child.Child
	inbox   *inbox
}

// farPipes are our ends of the command's files.
type farPipes struct{ input, output *os.File }

func (f *farEnd) start(cmd *exec.Cmd) (ours farPipes, err error) {
	var errs [2]error
	var stdin, stdout *os.File
	stdin, ours.input, errs[0] = os.Pipe()
	ours.output, stdout, errs[1] = os.Pipe()
	if err := errors.Join(errs[:]...); err != nil {
		return ours, fmt.Errorf("cannot make pipes: %w", err)
	}
	defer stdin.Close()
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	f.command, err = child.Start(cmd, syscall.SIGKILL)
	return ours, err
}

// obey takes frames until there are no more.
func (f *farEnd) obey(in io.Reader) {
	buffer := make([]byte, maxPayload)
	for {
		kind, payload, err := receive(in, buffer)
		if err != nil {
			return
		}
		switch kind {
		case input:
			f.inbox.put(payload)
		case noMore:
			f.inbox.end()
		case signal:
			f.command.Signal(syscall.Signal(number(payload)))
		}
	}
}

// feed gives the command its input, and forgets what it does not take.
func (f *farEnd) feed(to *os.File) {
	defer to.Close()
	for b := f.inbox.take(); len(b) > 0; b = f.inbox.take() {
		_, _ = to.Write(b)
		_ = f.sendNumber(taken, len(b))
	}
}

func (f *farEnd) sendOutput(from *os.File) {
	defer from.Close()
	if errors.Is(f.copyOutput(from), os.ErrDeadlineExceeded) {
		_ = f.copyOutput(Rest(from))
	}
}

// copyOutput sends what there is to read. It returns nil if nobody takes it, and
// the command is to learn that.
func (f *farEnd) copyOutput(from io.Reader) error {
	buffer := make([]byte, maxPayload)
	for {
		n, err := from.Read(buffer)
		if n > 0 && f.send(output, buffer[:n]) != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Rest returns a reader of what is in a pipe now, whose deadline for reading is
// over: what is left of a command that has ended. What others go on writing is not
// waited for.
func Rest(pipe *os.File) io.Reader {
	left := 0
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	_ = pipe.SetReadDeadline(time.Time{})
	return io.LimitReader(pipe, int64(left))
}
