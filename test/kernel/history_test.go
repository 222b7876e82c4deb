package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/test/live"
)

// Where the kernel counts memory and traffic, both are told of a machine; and
// one that takes more memory than it may is remembered for it.
func TestMachdTellsWhoRanOutOfMemory(t *testing.T) {
	const name, unit = "greedy", "greedy-process.service"
	enough := "/run/greedy.enough"
	// PID 1 makes one dollar of two.
	script := "echo $$$$ >/run/greedy.pid; until test -e " + enough + "; do sleep 0.1; done; exec tail -n 1 /dev/zero"
	live.Run(t, "systemd-run", "-q", "--unit="+unit, "--slice=machine.slice", "-p", "MemoryAccounting=yes", "-p", "IOAccounting=yes",
		"-p", "TasksAccounting=yes", "-p", "MemoryMax=32M", "-p", "MemorySwapMax=0", "sh", "-c", script)
	t.Cleanup(func() {
		live.Observe(t, "systemctl", "stop", unit)
		live.Observe(t, "systemctl", "reset-failed", unit)
		os.Remove(enough)
	})
	var pid string
	live.Eventually(t, "its process runs", func() error {
		text, err := os.ReadFile("/run/greedy.pid")
		if pid = strings.TrimSpace(string(text)); err == nil && pid == "" {
			err = errors.New("its process has not said its number")
		}
		return err
	})
	live.Run(t, "busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager",
		"RegisterMachine", "sayssus", name, "0", "tester", "container", pid, "/")

	var rows []struct {
		Machine       string
		Memory, Tasks *float64
		Read          *float64 `json:"io_read_per_second"`
	}
	live.Must(t, json.Unmarshal([]byte(live.Run(t, "machctl", "top", "-o", "json", "--delay=100ms")), &rows))
	if len(rows) != 1 || rows[0].Machine != name || rows[0].Memory == nil || *rows[0].Memory < 4096 || *rows[0].Memory > 32<<20 ||
		rows[0].Tasks == nil || *rows[0].Tasks < 1 || rows[0].Read == nil {
		t.Errorf("%+v", rows)
	}

	live.Must(t, os.WriteFile(enough, nil, 0o644))
	live.Eventually(t, "its end is known", func() error {
		var past []struct {
			Result string
			To     *time.Time
		}
		text := live.Run(t, "machctl", "history", name, "-o", "json")
		live.Must(t, json.Unmarshal([]byte(text), &past))
		if len(past) != 1 || past[0].Result != "oom-kill" {
			return fmt.Errorf("the history is %s", text)
		}
		return nil
	})
}
