package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A start is what it takes until a daemon is ready: it owns its name, and knows
// the machines that there are.
type start struct {
	took, cpu time.Duration
	memory    int // resident, KiB
}

// measureStarts prints what a start costs either daemon while that many machines
// run.
func measureStarts(machines, rounds int) error {
	starts := map[string][]start{}
	for range rounds {
		for _, daemon := range daemons {
			if err := swapTo(daemon); err != nil {
				return err
			}
			one, err := measureStart()
			if err != nil {
				return fmt.Errorf("%s: %w", daemon, err)
			}
			starts[daemon] = append(starts[daemon], one)
		}
	}
	fmt.Printf("\nstart with %d machines, median of %d\n\n", machines, rounds)
	fmt.Printf("%-22s  %14s  %12s  %6s\n", "", "machined", "machd", "ratio")
	rows := []struct {
		name string
		of   func(start) float64
	}{
		{"until ready, ms", func(s start) float64 { return s.took.Seconds() * 1000 }},
		{"CPU, ms", func(s start) float64 { return s.cpu.Seconds() * 1000 }},
		{"memory then, MiB", func(s start) float64 { return float64(s.memory) / 1024 }},
	}
	for _, row := range rows {
		fmt.Printf("%-22s", row.name)
		printRatio(median(starts[stock], row.of), median(starts[ours], row.of))
		fmt.Println()
	}
	return nil
}

// measureStart starts the daemon that is in place again.
func measureStart() (start, error) {
	if out, err := exec.Command("systemctl", "restart", inPlace+".service").CombinedOutput(); err != nil {
		return start{}, fmt.Errorf("cannot restart it: %w: %s", err, out)
	}
	pid, err := daemonPID()
	if err != nil {
		return start{}, err
	}
	s := start{cpu: processorTime(pid)}
	if s.memory, err = residentKiB(); err != nil {
		return start{}, err
	}
	from, err := unitTime("ExecMainStartTimestampMonotonic")
	if err != nil {
		return start{}, err
	}
	to, err := unitTime("ActiveEnterTimestampMonotonic")
	s.took = to - from
	return s, err
}

// unitTime returns one of the time stamps of the daemon's unit.
func unitTime(property string) (time.Duration, error) {
	out, err := exec.Command("systemctl", "show", "-P", property, inPlace+".service").Output()
	if err != nil {
		return 0, fmt.Errorf("cannot ask for %s: %w", property, err)
	}
	µs, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return time.Duration(µs) * time.Microsecond, err
}
