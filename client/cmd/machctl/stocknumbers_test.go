package main

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNumbersAreReadAsByTheStockCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint32{
		"0": 0, "5": 5, "+5": 5, " 5": 5, "\t\v +5": 5, "-0": 0, "0x2": 2, "0XF": 15, "010": 8, "0b11": 3, "0o17": 15, "4294967295": 4294967295,
	} {
		if n, err := parseUnsigned(text); err != nil || n != want {
			t.Errorf("%q is %d, not %d: %v", text, n, want, err)
		}
	}
	for _, text := range []string{"", " ", "+", "-", "-1", "5 ", "08", "0o8", "0x", "1_0", "4294967296", "1.0", "all", "--0", "+-0"} {
		if n, err := parseUnsigned(text); err == nil {
			t.Errorf("%q is %d", text, n)
		}
	}
}

func TestSizesAreReadAsByTheStockCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]uint64{
		"0": 0, "10": 10, "+1": 1, "1B": 1, "1K": 1 << 10, "010K": 10 << 10, "1.5G": 3 << 29, "1.G": 1 << 30, "0.5": 0, "1 G": 1 << 30, " 1G": 1 << 30,
		"1G 5M": 1<<30 + 5<<20, "1G5M": 1<<30 + 5<<20, "1G 5": 1<<30 + 5, "1G 5 B": 1<<30 + 5, "1T1G1M1K1B": 1<<40 + 1<<30 + 1<<20 + 1<<10 + 1,
		"15E": 15 << 60, "18446744073709551615": 1<<64 - 1, "15.5E": 31 << 59,
	} {
		if n, err := stockSize(text); err != nil || n != want {
			t.Errorf("%q is %d, not %d: %v", text, n, want, err)
		}
	}
	for _, text := range []string{
		"", " ", "-1", "1G ", "1G 2G", "5M 1G", "1k", "1KB", "1KiB", ".5G", "10%", "16E", "15E 1024P", "18446744073709551616", "1T,1G", "0x10", "G", "1 2",
	} {
		if n, err := stockSize(text); err == nil {
			t.Errorf("%q is %d", text, n)
		}
	}
}

// Which signals machinectl takes, and which only we do.
func TestSignalsAreReadAsByTheStockCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]unix.Signal{ // by machctl, by machinectl
		"15": {15, 15}, " 15": {15, 15}, "+15": {15, 15}, "0xf": {15, 15}, "017": {15, 15}, "64": {64, 64}, "33": {33, 33},
		"TERM": {15, 15}, "SIGTERM": {15, 15}, "term": {15, 0}, "sigterm": {15, 0}, "Term": {15, 0}, "SIG15": {15, 0},
		"RTMIN": {34, 34}, "SIGRTMIN+3": {37, 37}, "RTMIN+0x3": {37, 37}, "RTMIN+30": {64, 64}, "rtmin": {34, 0}, "RTMAX-3": {61, 61}, "RTMAX-30": {34, 34},
		"-15": {}, "0": {}, "-0": {}, "65": {}, "15 ": {}, "": {}, "SIG": {}, "SIGSIGTERM": {}, " TERM": {}, "IOT": {},
		"RTMIN-1": {}, "RTMIN-0": {}, "RTMIN3": {}, "RTMIN+": {}, "RTMIN+ 3": {}, "RTMIN++3": {}, "RTMIN+31": {}, "RTMAX+0": {}, "RTMAX-31": {}, "RTMAX3": {},
	} {
		ours, _ := parseSignal(text, false)
		theirs, _ := parseSignal(text, true)
		if got := [2]unix.Signal{ours, theirs}; got != want {
			t.Errorf("%q is %s, not %s", text, fmt.Sprintf("%d", got), fmt.Sprintf("%d", want))
		}
	}
}
