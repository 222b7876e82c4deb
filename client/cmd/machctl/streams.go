package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/relay"
)

// streams are the files that a command in a machine gets for ours. It gets no
// terminal of ours, by which it could read what is typed here for as long as it
// keeps it, but a pipe.
type streams struct {
	in, out, err *os.File // nil is /dev/null

	theirs  []*os.File // ends of pipes, to be closed here when the command has them
	typed   *inlet     // or nil
	outputs []*outlet
}

// An inlet is our end of a pipe that a command reads, and the terminal where that
// is typed.
type inlet struct{ pipe, from *os.File }

// An outlet is our end of a pipe that a command writes to, and where that goes.
type outlet struct {
	pipe *os.File
	to   io.Writer
	done chan struct{} // closed when nothing is copied any more
}

func newStreams(in, out, err *os.File, typed bool) (*streams, error) {
	s := &streams{in: in, out: out, err: err}
	var errs [3]error
	switch {
	case isTerminal(in) && typed:
		s.in, errs[0] = s.input(in)
	case isTerminal(in):
		s.in = nil
	}
	if isTerminal(out) {
		s.out, errs[1] = s.output(out)
	}
	switch {
	case isTerminal(out) && sameFile(out, err):
		s.err = s.out // or the order would be lost
	case isTerminal(err):
		s.err, errs[2] = s.output(err)
	}
	if err := errors.Join(errs[:]...); err != nil {
		s.close()
		return nil, fmt.Errorf("cannot make pipes for the command: %w", err)
	}
	return s, nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func sameFile(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// input returns what a command reads.
func (s *streams) input(from *os.File) (*os.File, error) {
	r, w, err := newPipe(1)
	if err == nil {
		s.theirs = append(s.theirs, r)
		s.typed = &inlet{w, from}
	}
	return r, err
}

// output returns what a command writes to.
func (s *streams) output(to io.Writer) (*os.File, error) {
	r, w, err := newPipe(0)
	if err == nil {
		s.theirs = append(s.theirs, w)
		s.outputs = append(s.outputs, &outlet{r, to, make(chan struct{})})
	}
	return w, err
}

// newPipe returns a pipe. Only our end of the two does not block: commands do
// not expect that.
func newPipe(ours int) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	err = unix.SetNonblock(fds[ours], true)
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), err
}

// begin copies, when the command has its files.
func (s *streams) begin() {
	s.closeTheirs()
	if s.typed != nil {
		go func() {
			_, _ = io.Copy(s.typed.pipe, s.typed.from) // until nobody types or reads
			s.typed.pipe.Close()
		}()
	}
	for _, o := range s.outputs {
		go o.copy()
	}
}

// finish returns when all that an ended command wrote is shown, whoever else
// may still hold its files.
func (s *streams) finish() {
	for _, o := range s.outputs {
		_ = o.pipe.SetReadDeadline(time.Unix(1, 0))
		<-o.done
	}
}

func (s *streams) close() {
	s.closeTheirs()
	if s.typed != nil {
		s.typed.pipe.Close()
	}
	for _, o := range s.outputs {
		o.pipe.Close()
	}
}

func (s *streams) closeTheirs() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.theirs = nil
}

// copy copies what the command writes, and closes the pipe when nobody takes that:
// who writes into it must learn it.
func (o *outlet) copy() {
	defer close(o.done)
	defer o.pipe.Close()
	if _, err := io.Copy(o.to, o.pipe); errors.Is(err, os.ErrDeadlineExceeded) {
		_, _ = io.Copy(o.to, relay.Rest(o.pipe))
	}
}
