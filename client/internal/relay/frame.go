// Package relay runs a command on another host as if it were run here: with its
// own input and output, byte by byte, the signals that come here, and its exit
// status, whatever carries all that. ssh alone passes no signals, and lets a
// command run on when it is killed.
//
// Between the two ends there are frames, in both directions. What the command
// says on its standard error goes beside them.
package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// Kinds of frames, with what is in them.
const (
	input  = 'i' // bytes for the command
	noMore = 'e' // nothing: there is no more input
	signal = 's' // the number of a signal for it

	output = 'o' // bytes of the command
	taken  = 'a' // how many bytes of input it has taken, since the last one
	exited = 'x' // its exit status: it has ended, and there is no more output
)

// The far end begins with one of these lines. Before it there may be what the
// host's shell says by itself.
const (
	helloFrames = "machctl-relay: frames"
	helloBare   = "machctl-relay: bare" // the command itself comes, without frames
	helloNobody = "machctl-relay: nobody"
)

const (
	maxPayload = 64 << 10
	// window is how much input may be on its way, in bytes. It bounds what is
	// before a signal.
	window = 1 << 20
)

var errFrame = errors.New("the other end sent what is no frame")

// A frames is a writer of frames that several goroutines use.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) send(kind byte, payload []byte) error {
	frame := make([]byte, 5, 5+len(payload))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(frame, payload...))
	return err
}

func (f *frames) sendNumber(kind byte, n int) error {
	return f.send(kind, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// receive reads a frame into buffer, which has room for every payload.
func receive(r io.Reader, buffer []byte) (kind byte, payload []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > maxPayload {
		return 0, nil, errFrame
	}
	if _, err := io.ReadFull(r, buffer[:n]); err != nil {
		return 0, nil, err
	}
	return header[0], buffer[:n], nil
}

func number(payload []byte) int {
	if len(payload) != 4 {
		return 0
	}
	return int(binary.BigEndian.Uint32(payload))
}
