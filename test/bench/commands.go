package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// execGuest is a machine with systemd, execBare one without.
const execGuest, execBare = "c8-ns", "bench-bare"

// A way runs a command in a machine.
type way struct {
	name  string
	argv  []string
	pipes bool // and not a terminal
}

func waysInto(machine string, leader string) []way {
	return []way{
		{"machctl exec", []string{"machctl", "exec", machine, "--"}, true},
		{"nsenter", []string{"nsenter", "--all", "--target", leader}, true},
		{"machctl shell", []string{"machctl", "-q", "shell", machine}, false},
		{"machinectl shell", []string{"machinectl", "-q", "shell", machine}, false},
		{"systemd-run -M", []string{"systemd-run", "-q", "--wait", "--pipe", "-M", machine}, true},
	}
}

// measureCommands prints what it takes to run a command in a machine of machd's:
// one that does nothing, from the start of the client to its end, and one that
// writes a gibibyte.
func measureCommands(runs int) error {
	if err := swapTo(ours); err != nil {
		return err
	}
	end, err := startExecMachines()
	if err != nil {
		return err
	}
	defer end()
	if err := letCommandsRunFirst(); err != nil {
		return err
	}
	fmt.Printf("\ncommands in a machine, of %d runs\n\n%-12s  %-18s  %12s  %12s  %10s\n", runs, "machine", "", "median, ms", "least, ms", "GiB/s")
	for _, machine := range []string{execGuest, execBare} {
		leader, err := exec.Command("machctl", "show", "-P", "Leader", machine).Output()
		if err != nil {
			return fmt.Errorf("cannot find %s: %w", machine, err)
		}
		ways := waysInto(machine, strings.TrimSpace(string(leader)))
		if machine == execBare {
			ways = ways[:2] // the others need systemd there
		}
		for _, w := range ways {
			if err := measureWay(machine, w, runs); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

// letCommandsRunFirst lets all who take part run ahead of the rest of the host:
// us, and so our clients, the daemon, the buses, and the machines.
func letCommandsRunFirst() error {
	script := `for unit in dbus.service systemd-machined.service machd-exec.service $(machctl show -P Unit "$@"); do
		find /sys/fs/cgroup$(systemctl show -P ControlGroup $unit) -name cgroup.procs -exec cat {} +
	done; echo 1`
	out, err := exec.Command("sh", "-c", script, "sh", execGuest, execBare).Output()
	if err != nil {
		return fmt.Errorf("cannot find who takes part: %w", err)
	}
	pids := []int{os.Getpid()}
	for word := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	return setRealtime(pids...)
}

func startExecMachines() (end func(), err error) {
	if out, err := exec.Command("machctl", "start", execGuest).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w: %s", execGuest, err, out)
	}
	bare := exec.Command("systemd-nspawn", "-q", "-M", execBare, "-D", "/var/lib/machines/tiny", "--ephemeral", "sleep", "infinity")
	if err := bare.Start(); err != nil {
		return nil, err
	}
	end = func() {
		for _, name := range []string{execGuest, execBare} {
			_ = exec.Command("machctl", "terminate", name).Run()
		}
		_ = bare.Wait()
	}
	for range 100 {
		if exec.Command("machctl", "show", "-P", "Leader", execBare).Run() == nil {
			return end, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	end()
	return nil, fmt.Errorf("cannot start %s", execBare)
}

func measureWay(machine string, w way, runs int) error {
	var times []time.Duration
	for range runs + 1 { // the first one warms up
		start := time.Now()
		if out, err := exec.Command(w.argv[0], append(w.argv[1:], "/bin/true")...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		times = append(times, time.Since(start))
	}
	times = times[1:]
	least := times[0]
	for _, t := range times {
		least = min(least, t)
	}
	rate := "-"
	if w.pipes {
		gibibytes, err := throughput(w)
		if err != nil {
			return err
		}
		rate = fmt.Sprintf("%.2f", gibibytes)
	}
	ms := func(t time.Duration) float64 { return t.Seconds() * 1000 }
	fmt.Printf("%-12s  %-18s  %12.1f  %12.1f  %10s\n", machine, w.name, median(times, ms), ms(least), rate)
	return nil
}

// throughput tells in GiB/s how fast a command's output comes.
func throughput(w way) (float64, error) {
	const size = 1 << 30
	cmd := exec.Command(w.argv[0], append(w.argv[1:], "/bin/sh", "-c", "head -c 1073741824 /dev/zero")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{out}, make([]byte, 1<<20))
	if err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil {
		return 0, err
	}
	if n != size {
		return 0, fmt.Errorf("%d bytes came of %d", n, size)
	}
	return 1 / time.Since(start).Seconds(), nil
}
