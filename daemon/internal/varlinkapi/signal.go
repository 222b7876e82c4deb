package varlinkapi

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	realtimeMin = 34 // SIGRTMIN as the C library counts
	maxSignal   = 64 // SIGRTMAX
)

// signalByName reads a signal's name, with or without SIG, RTMIN+n and RTMAX-n
// included.
//
// Reference: signal-util.c, signal_from_string.
func signalByName(name string) (int64, bool) {
	name = strings.TrimPrefix(name, "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int64(n), true
	}
	if rest, ok := strings.CutPrefix(name, "RTMIN"); ok {
		return realtime(realtimeMin, rest, "+")
	}
	if rest, ok := strings.CutPrefix(name, "RTMAX"); ok {
		return realtime(maxSignal, rest, "-")
	}
	return 0, false
}

func realtime(base int64, rest, sign string) (int64, bool) {
	if rest == "" {
		return base, true
	}
	digits, ok := strings.CutPrefix(rest, sign)
	offset, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil {
		return 0, false
	}
	signal := base + int64(offset)
	if sign == "-" {
		signal = base - int64(offset)
	}
	return signal, realtimeMin <= signal && signal <= maxSignal
}
