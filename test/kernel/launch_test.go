package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// Limits that a start is given hold in the machine, whatever runs in it, can be
// changed while it runs, and are gone with it.
func TestMachdLimitsOfAStart(t *testing.T) {
	const name = "g14"
	before := unitFiles(t)
	live.Run(t, "machctl", "start", name, "--image=tiny", "--memory=64M", "--tasks=40", "--cpus=0.5", "--io-weight=50",
		"--", "/bin/sleep", "infinity")
	t.Cleanup(func() { live.Observe(t, "machctl", "terminate", name) })
	unit := live.Run(t, "machctl", "show", "-P", "Unit", name)
	group := filepath.Join("/sys/fs/cgroup", live.Run(t, "systemctl", "show", "-P", "ControlGroup", unit))
	wantFiles(t, group, map[string]string{
		"memory.max": strconv.Itoa(64 << 20), "pids.max": "40", "cpu.max": "50000 100000", "io.weight": "default 50",
	})

	// The first command of all starts a server, which may take more time than an
	// interpreted machine has.
	live.Eventually(t, "a command runs there", func() error {
		if o := live.Observe(t, "machctl", "exec", name, "--", "/bin/true"); o.Code != 0 {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})

	// More processes than it may have.
	o := live.Observe(t, "machctl", "exec", name, "--", "/bin/sh", "-c", "for i in $(seq 60); do sleep 100 & done; wait")
	if o.Code == 0 || counter(t, group, "pids.events", "max") == 0 {
		t.Errorf("60 processes are %+v, where 40 may be", o)
	}
	// More memory: what takes it is killed, and nothing else.
	o = live.Observe(t, "machctl", "exec", name, "--", "/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
	if o.Code != 128+9 || counter(t, group, "memory.events", "oom_kill") == 0 {
		t.Errorf("100 MB are %+v, where 64 may be", o)
	}
	if state := live.Run(t, "machctl", "show", "-P", "State", name); state != "running" {
		t.Errorf("the machine is %s", state)
	}

	live.Run(t, "machctl", "set", name, "--tasks=30000", "--memory=30%")
	wantFiles(t, group, map[string]string{"pids.max": "30000", "cpu.max": "50000 100000"})
	if o := live.Observe(t, "machctl", "set", name, "--tasks=50", "--memory=none"); o.Code == 0 {
		t.Errorf("memory of none is taken: %+v", o)
	}
	wantFiles(t, group, map[string]string{"pids.max": "30000"})

	live.Run(t, "machctl", "stop", name)
	live.Run(t, "machctl", "start", name, "--image=tiny", "--", "/bin/sleep", "infinity")
	wantFiles(t, group, map[string]string{"memory.max": "max", "pids.max": "16384", "cpu.max": "max 100000"})
	live.Run(t, "machctl", "stop", name)
	if after := unitFiles(t); after != before {
		t.Errorf("unit files were\n%s\nand are\n%s", before, after)
	}
}

func wantFiles(t *testing.T, group string, want map[string]string) {
	t.Helper()
	for file, want := range want {
		got, err := os.ReadFile(filepath.Join(group, file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, %v, want %s", file, got, err, want)
		}
	}
}

// counter returns what a file of events counts under a name.
func counter(t *testing.T, group, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(group, file))
	live.Must(t, err)
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			n, err := strconv.Atoi(value)
			live.Must(t, err)
			return n
		}
	}
	t.Fatalf("%s does not count %s:\n%s", file, name, text)
	return 0
}

// unitFiles lists what is beside the units of packages.
func unitFiles(t *testing.T) string {
	t.Helper()
	return live.Observe(t, "find", "/etc/systemd", "/run/systemd/system", "/run/systemd/transient", "-name", "*g14*").Stdout
}
