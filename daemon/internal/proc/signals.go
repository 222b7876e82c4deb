package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Signals is a set of signals.
type Signals uint64

// Has reports whether signal is one of them.
func (s Signals) Has(signal unix.Signal) bool {
	return signal >= 1 && s&(1<<(signal-1)) != 0
}

// Heard returns the signals that the process does something about: it has a
// handler for them, or blocks them to take them when it likes, as systemd does.
// The first process of a PID namespace loses all others but SIGKILL and SIGSTOP;
// any other process ends by most of them.
//
// While it starts another program, a process blocks all signals, and lets them
// through afterwards: that moment, which takes up to momentLooks, is waited for.
func (p *PIDFD) Heard() (heard Signals, err error) {
	for range momentLooks {
		data, err := p.read("status")
		if err != nil {
			return 0, err
		}
		blocked, caught, err := parseSignals(data)
		if err != nil {
			return 0, err
		}
		heard = blocked | caught
		if !blocked.Has(unix.SIGSEGV) { // nobody takes that one when he likes
			break
		}
		time.Sleep(momentPause)
	}
	return heard, nil
}

const (
	momentLooks = 20
	momentPause = 5 * time.Millisecond
)

func parseSignals(status []byte) (blocked, caught Signals, err error) {
	if blocked, err = statusSignals(status, "SigBlk:"); err != nil {
		return 0, 0, err
	}
	caught, err = statusSignals(status, "SigCgt:")
	return blocked, caught, err
}

// statusSignals returns the set in the line that begins with key.
func statusSignals(status []byte, key string) (Signals, error) {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(key)); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			return Signals(n), err
		}
	}
	return 0, fmt.Errorf("cannot find %q in a status file", key)
}
