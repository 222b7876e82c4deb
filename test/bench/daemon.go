package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The daemons, by the names of their units.
const (
	stock = "systemd-machined"
	ours  = "machd"

	theService = "systemd-machined.service" // whichever it is
)

// daemons is in the order in which they take turns.
var daemons = []string{stock, ours}

// inPlace is the daemon that answers now.
var inPlace = stock

// swapTo puts daemon in place, with all machines running.
func swapTo(daemon string) error {
	if daemon == inPlace {
		return nil
	}
	steps := [][]string{
		{"systemctl", "-q", "enable", "machd.service"},
		{"systemctl", "restart", "machd.socket", "machd.service"},
	}
	if daemon == stock {
		steps = [][]string{
			{"systemctl", "-q", "disable", "--now", "machd.socket", "machd.service"},
			{"systemctl", "restart", theService},
		}
	}
	for _, step := range steps {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot put %s in place: %w: %s", daemon, err, out)
		}
	}
	inPlace = daemon
	return nil
}

// daemonPID returns the process of the daemon that is in place.
func daemonPID() (int, error) {
	out, err := exec.Command("systemctl", "show", "-P", "MainPID", theService).Output()
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the daemon's process: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// residentKiB returns the resident memory of the daemon that is in place.
func residentKiB() (int, error) {
	pid, err := daemonPID()
	if err != nil {
		return 0, err
	}
	return statusField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS")
}

// statusField returns a number of a file as /proc/PID/status.
func statusField(path, field string) (int, error) {
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "\n"+field+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("%s has no field %s", path, field)
	}
	return strconv.Atoi(fields[0])
}

// processorTime returns what a process has used so far, of user and system
// time, to the nanosecond.
func processorTime(pid int) time.Duration {
	// The kernel's number for a process's own clock: CPUCLOCK_SCHED.
	clock := int32(^pid)<<3 | 2
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

// sleeps returns how often the threads of a process have begun to wait.
func sleeps(pid int) int {
	var sum int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		if n, err := statusField(task, "voluntary_ctxt_switches"); err == nil { // else it has ended
			sum += n
		}
	}
	return sum
}
