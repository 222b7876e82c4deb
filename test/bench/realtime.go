package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// setRealtime lets processes run before everything else, so that
// only those are measured who take part: both daemons, the broker and the client
// alike.
func setRealtime(pids ...int) error {
	for _, pid := range pids {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(filepath.Base(task))
			if err != nil {
				return err
			}
			if err := runFirst(tid); err != nil {
				return err
			}
		}
	}
	return nil
}

func runFirst(tid int) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("cannot let thread %d run before others: %w", tid, err)
	}
	return nil
}

// brokerPIDs returns the processes of the bus.
func brokerPIDs() ([]int, error) {
	group, err := exec.Command("systemctl", "show", "-P", "ControlGroup", "dbus.service").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the broker's cgroup: %w", err)
	}
	procs, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", strings.TrimSpace(string(group)), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, word := range strings.Fields(string(procs)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
