package main

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The C library keeps the first real-time signals to itself, and everybody
// counts from where it begins.
const (
	signalMin = unix.Signal(34)
	signalMax = unix.Signal(64)
)

// parseSignal accepts a number, a name with or without SIG, RTMIN+N and
// RTMAX-N. machinectl minds the case of names, and has no SIG before numbers.
func parseSignal(text string, stock bool) (unix.Signal, error) {
	name := text
	if !stock {
		name = strings.TrimPrefix(strings.ToUpper(text), "SIG")
	}
	if n, err := parseUnsigned(name); err == nil && n >= 1 && n <= uint32(signalMax) {
		return unix.Signal(n), nil
	}
	if stock {
		name = strings.TrimPrefix(text, "SIG")
	}
	if s, ok := realTime(name); ok {
		return s, nil
	}
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return s, nil
	}
	if near := didYouMean("SIG"+name, signalNames()); near != "" {
		return 0, usagef("--signal: there is no signal %q%s", text, near)
	}
	return 0, usagef("--signal: there is no signal %q, see --signal=help", text)
}

func realTime(name string) (unix.Signal, bool) {
	switch name {
	case "RTMIN":
		return signalMin, true
	case "RTMAX":
		return signalMax, true
	}
	base, sign := signalMin, unix.Signal(1)
	number, ok := strings.CutPrefix(name, "RTMIN+")
	if !ok {
		number, ok = strings.CutPrefix(name, "RTMAX-")
		base, sign = signalMax, -1
	}
	offset, err := parseUnsigned(number)
	if !ok || err != nil || !strings.ContainsRune(digits, rune(number[0])) || offset > uint32(signalMax-signalMin) {
		return 0, false
	}
	return base + sign*unix.Signal(offset), true
}

// signalListing returns what --signal=help and --signal=list show.
func signalListing(word string) (text string, ok bool) {
	format := "%[2]s\n"
	var b strings.Builder
	switch word {
	case "help":
	case "list":
		format = "%-6[1]d SIG%[2]s\n"
		b.WriteString("SIGNAL NAME\n")
	default:
		return "", false
	}
	if word == "help" {
		b.WriteString("0\n")
	}
	for s := unix.Signal(1); s <= signalMax; s++ {
		fmt.Fprintf(&b, format, int(s), signalName(s))
	}
	return b.String(), true
}

func signalName(s unix.Signal) string {
	if s >= signalMin {
		return fmt.Sprintf("RTMIN+%d", s-signalMin)
	}
	if name := unix.SignalName(s); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(s)) // the C library's own
}
