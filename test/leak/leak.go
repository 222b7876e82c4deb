// Package leak fails the tests of a package that leave descriptors open.
package leak

import (
	"fmt"
	"os"
	"testing"
)

// Main runs the tests. No test may leave a descriptor behind.
func Main(m *testing.M) {
	startPoller()
	before := descriptors()
	code := m.Run()
	if after := descriptors(); code == 0 && after != before {
		fmt.Fprintf(os.Stderr, "descriptors were left open: %d before, %d after\n", before, after)
		code = 1
	}
	os.Exit(code)
}

// startPoller makes Go open the descriptors that it keeps for ever.
func startPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	r.Close()
	w.Close()
}

func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}
