package proc

import (
	"bytes"
	"fmt"
	"strconv"

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
func (p *PIDFD) Heard() (Signals, error) {
	data, err := p.read("status")
	if err != nil {
		return 0, err
	}
	return parseHeard(data)
}

func parseHeard(status []byte) (Signals, error) {
	var heard Signals
	for _, key := range []string{"SigBlk:", "SigCgt:"} {
		set, err := statusSignals(status, key)
		if err != nil {
			return 0, err
		}
		heard |= set
	}
	return heard, nil
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
