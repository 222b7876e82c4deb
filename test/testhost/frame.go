package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// A link carries one command after the other over a port of a virtual machine:
// the caller sends what to run and its input, the agent inside its outputs and
// how it ended.
type link struct {
	r *bufio.Reader

	mu sync.Mutex // held while a frame is written
	w  io.Writer
}

type frameKind byte

const (
	frameCommand frameKind = iota + 1 // JSON of the command
	frameInput                        // an empty one is the end
	frameOutput
	frameErrors
	frameEnd // the exit status, a byte
)

// frameLimit is the largest body of a frame.
const frameLimit = 1 << 20

func newLink(port io.ReadWriter) *link {
	return &link{r: bufio.NewReader(port), w: port}
}

func (l *link) send(kind frameKind, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	frame := binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(body)))
	_, err := l.w.Write(append(frame, body...))
	return err
}

func (l *link) receive() (frameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > frameLimit {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(l.r, body)
	return frameKind(head[0]), body, err
}

// copy sends all that r gives as frames of one kind.
func (l *link) copy(kind frameKind, r io.Reader) error {
	_, err := io.Copy(writerOf{l, kind}, r)
	return err
}

// A writerOf sends what is written as frames of one kind.
type writerOf struct {
	link *link
	kind frameKind
}

func (w writerOf) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), frameLimit)
		if err := w.link.send(w.kind, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}
