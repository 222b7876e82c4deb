package ptyfwd

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits for input that nobody types: how long it waits for a sign of life
// from the other side, and how long after the last reset of the terminal. Two
// resets by systemd are some 20 ms apart.
const (
	beginTimeout = 3 * time.Second
	resetPause   = 250 * time.Millisecond
)

// forwardInput sends what is typed to the master until there is no more.
func (f *forwarder) forwardInput() ending {
	if f.screen.in == nil {
		f.awaitBegin()
	}
	buffer := make([]byte, chunk)
	last := byte('\n')
	for {
		if f.wake.poll(f.in, unix.POLLIN) == 0 {
			return ending{goOn: true}
		}
		n, err := unix.Read(f.in, buffer)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case n <= 0:
			return f.endInput(last)
		case f.escape.scan(time.Now(), buffer[:n]):
			return ending{Ending: Left}
		}
		last = buffer[n-1]
		f.send(buffer[:n])
	}
}

// send writes data to the master. While nobody has the other side open there
// may be no room, and nobody to miss the data.
func (f *forwarder) send(data []byte) {
	for len(data) > 0 {
		if f.wake.poll(f.master, unix.POLLOUT)&unix.POLLOUT == 0 {
			return
		}
		n, err := unix.Write(f.master, data)
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return
		}
		data = data[max(n, 0):]
	}
}

// endInput is for input that has ended. A terminal ends only by hanging up,
// and a login without input goes on for ever; a command goes on until it ends.
func (f *forwarder) endInput(last byte) ending {
	if f.screen.in != nil || f.Login {
		return ending{Ending: InputClosed}
	}
	f.eof.begin(f.master, last != '\n')
	return ending{goOn: true}
}

// awaitBegin waits until the other side has shown something, or has reset its
// terminal and left it alone since: a service manager throws away what was
// typed before it starts the command, and does so more than once.
func (f *forwarder) awaitBegin() {
	timeout := time.NewTimer(beginTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-f.flushed:
			timeout.Reset(resetPause)
		case <-f.shown:
			return
		case <-f.wake.over:
			return
		case <-timeout.C:
			return
		}
	}
}

// begun tells awaitBegin of signs of life. Only the output calls it.
func (f *forwarder) begun(output, flushed bool) {
	if flushed {
		select {
		case f.flushed <- struct{}{}:
		default:
		}
	}
	if output {
		select {
		case <-f.shown:
		default:
			close(f.shown)
		}
	}
}

// An endOfInput types the end-of-file key of the other side, where a pipe
// would just end. The key is lost when the other side empties its queue or
// changes to or from reading keys one by one, as every shell with line editing
// does before its prompt; then it is typed again.
type endOfInput struct {
	typed   atomic.Int32 // in which mode; the input sets it first, then the output
	midLine bool         // the last line has no end; belongs to whom typed says
}

const (
	notTyped int32 = iota
	typedByLine
	typedByKey
)

// defaultEOF is ^D, which programs that read keys expect.
const defaultEOF = 4

// begin types the key for the first time.
func (e *endOfInput) begin(master int, midLine bool) {
	e.midLine = midLine
	e.typed.Store(e.key(master))
}

// repeat types the key again if it was lost. Only the output calls it.
func (e *endOfInput) repeat(master int, flushed bool) {
	typed := e.typed.Load()
	if typed == notTyped {
		return
	}
	if mode, _ := modeOf(master); flushed || mode != typed {
		e.typed.Store(e.key(master))
	}
}

// key types the key and returns the mode in which it did. In the middle of a
// line the key ends only that, or nothing for who reads keys.
func (e *endOfInput) key(master int) int32 {
	mode, key := modeOf(master)
	keys := []byte{key}
	switch {
	case !e.midLine:
	case mode == typedByLine:
		keys = []byte{key, key}
	default:
		keys = []byte{'\r', key}
		e.midLine = false
	}
	_, _ = unix.Write(master, keys)
	return mode
}

// modeOf returns how the other side reads and its end-of-file key. Linux
// answers for the slave when the master is asked.
func modeOf(master int) (mode int32, key byte) {
	modes, err := unix.IoctlGetTermios(master, unix.TCGETS)
	if err == nil && modes.Lflag&unix.ICANON != 0 {
		return typedByLine, modes.Cc[unix.VEOF]
	}
	return typedByKey, defaultEOF
}
