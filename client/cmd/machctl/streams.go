package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// streams are the files that a command in a machine gets for ours. It gets no
// terminal of ours, by which it could read what is typed here for as long as it
// keeps it, but a pipe.
type streams struct {
	in, out, err *os.File // nil is /dev/null

	theirs  []*os.File // ends of pipes, to be closed here when the command has them
	typed   *pipeline  // from our terminal, or nil
	outputs []*pipeline
}

// A pipeline is a pipe between a terminal and a command, and our end of it.
type pipeline struct {
	terminal, end *os.File
	done          chan struct{} // closed when nothing is copied any more
}

func newStreams(in, out, err *os.File, typed bool) (*streams, error) {
	s := &streams{in: in, out: out, err: err}
	var errs [3]error
	switch {
	case isTerminal(in) && typed:
		s.in, errs[0] = s.fromTerminal(in)
	case isTerminal(in):
		s.in = nil
	}
	if isTerminal(out) {
		s.out, errs[1] = s.toTerminal(out)
	}
	switch {
	case isTerminal(out) && sameFile(out, err):
		s.err = s.out // or the order would be lost
	case isTerminal(err):
		s.err, errs[2] = s.toTerminal(err)
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

func (s *streams) fromTerminal(terminal *os.File) (*os.File, error) {
	r, w, err := newPipe(1)
	if err == nil {
		s.theirs = append(s.theirs, r)
		s.typed = &pipeline{terminal, w, nil}
	}
	return r, err
}

func (s *streams) toTerminal(terminal *os.File) (*os.File, error) {
	r, w, err := newPipe(0)
	if err == nil {
		s.theirs = append(s.theirs, w)
		s.outputs = append(s.outputs, &pipeline{terminal, r, make(chan struct{})})
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
			_, _ = io.Copy(s.typed.end, s.typed.terminal) // until nobody types or reads
			s.typed.end.Close()
		}()
	}
	for _, p := range s.outputs {
		go p.show()
	}
}

// finish returns when all that an ended command wrote is shown, whoever else
// may still hold its files.
func (s *streams) finish() {
	for _, p := range s.outputs {
		_ = p.end.SetReadDeadline(time.Unix(1, 0))
		<-p.done
	}
}

func (s *streams) close() {
	s.closeTheirs()
	if s.typed != nil {
		s.typed.end.Close()
	}
	for _, p := range s.outputs {
		p.end.Close()
	}
}

func (s *streams) closeTheirs() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.theirs = nil
}

// show copies to the terminal, and closes the pipe to one that is gone: who
// writes into it must learn that.
func (p *pipeline) show() {
	defer close(p.done)
	defer p.end.Close()
	_, err := io.Copy(p.terminal, p.end)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	raw, err := p.end.SyscallConn()
	if err != nil {
		return
	}
	// What is in the pipe now is the rest.
	buffer := make([]byte, 32<<10)
	for {
		n := 0
		err := raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buffer) })
		if err != nil || n <= 0 {
			return
		}
		if _, err := p.terminal.Write(buffer[:n]); err != nil {
			return
		}
	}
}
