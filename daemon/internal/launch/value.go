package launch

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// infinity is what PID 1 takes for no limit.
const infinity = math.MaxUint64

// Values are written as in unit files. Reference: systemd.syntax(7),
// systemd.time(7), systemd.resource-control(5).

var sizeFactors = map[byte]float64{'B': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40, 'P': 1 << 50, 'E': 1 << 60}

// parseSize reads bytes, as in 200M or 1.5G.
func parseSize(text string) (uint64, error) {
	if text == "infinity" {
		return infinity, nil
	}
	number, factor := text, 1.0
	if text != "" {
		if f, ok := sizeFactors[text[len(text)-1]]; ok {
			number, factor = text[:len(text)-1], f
		}
	}
	if n, err := strconv.ParseUint(number, 10, 64); err == nil && factor == 1 {
		return n, nil
	}
	n, err := parseDecimal(number)
	if err != nil || n*factor >= math.MaxUint64 {
		return 0, fmt.Errorf("%q is no size, as 200M or 1.5G are", text)
	}
	return uint64(n * factor), nil
}

// parseDecimal reads a number of digits and at most one point.
func parseDecimal(text string) (float64, error) {
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return strconv.ParseFloat(text, 64)
}

func parseCount(text string) (uint64, error) {
	if text == "infinity" {
		return infinity, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

// parsePercent reads a percentage of up to two decimals, as the part of the
// largest number of 32 bits that PID 1 takes. It is not ok for anything else.
func parsePercent(text string) (scale uint32, ok bool, err error) {
	number, ok := strings.CutSuffix(text, "%")
	if !ok {
		return 0, false, nil
	}
	percent, err := parseDecimal(number)
	if err != nil || percent > 100 {
		return 0, true, fmt.Errorf("%q is no percentage from 0%% to 100%%", text)
	}
	return uint32(math.Round(percent / 100 * math.MaxUint32)), true, nil
}

var timeUnits = map[string]time.Duration{
	"": time.Second, "us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseTime reads a time span such as 90, 2min or 1h 30s, in µs.
func parseTime(text string) (uint64, error) {
	if text == "infinity" {
		return infinity, nil
	}
	total, rest := 0.0, strings.TrimSpace(text)
	for first := true; first || rest != ""; first = false {
		end := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		n, err := parseDecimal(rest[:end])
		rest = strings.TrimLeft(rest[end:], " ")
		next := strings.IndexAny(rest+"0", " 0123456789.")
		unit, ok := timeUnits[rest[:next]]
		if err != nil || !ok {
			return 0, fmt.Errorf("%q is no time span, as 90s or 2min are", text)
		}
		total += n * float64(unit.Microseconds())
		rest = strings.TrimLeft(rest[next:], " ")
	}
	if total >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too long a time", text)
	}
	return uint64(total), nil
}

// parseSignal reads the name of a signal, with or without SIG, or its number.
func parseSignal(text string) (int32, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int32(n), nil
	}
	const lowestRealtime, highest = 34, 64 // SIGRTMIN of glibc
	number, base := text, 0
	for prefix, from := range map[string]int{"SIGRTMIN+": lowestRealtime, "SIGRTMAX-": -highest} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			number, base = rest, from
		}
	}
	n, err := strconv.ParseUint(number, 10, 8)
	signal := int(n)
	switch {
	case base > 0:
		signal += base
	case base < 0:
		signal = -base - signal
	}
	if name == "SIGRTMIN" || name == "SIGRTMAX" {
		signal, err = map[string]int{"SIGRTMIN": lowestRealtime, "SIGRTMAX": highest}[name], nil
	}
	if err != nil || signal < 1 || signal > highest || base != 0 && signal < lowestRealtime {
		return 0, fmt.Errorf("there is no signal %q", text)
	}
	return int32(signal), nil
}

// splitWords splits a list at white space, but for what is in quotes or behind
// a backslash.
func splitWords(text string) ([]string, error) {
	var list []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0:
			if inWord {
				list = append(list, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q has a quote that nothing closes", text)
	}
	if inWord {
		list = append(list, word.String())
	}
	return list, nil
}

// quoteWord writes a word so that splitWords, and PID 1 in a unit file, read it.
// Line ends are written as in C, which splitWords does not read.
func quoteWord(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n\r\"'\\;") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(word) + `"`
}
