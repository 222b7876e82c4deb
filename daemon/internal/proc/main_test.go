package proc_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// start runs a command until the test ends, once it has said that it is ready
// by its first line.
func start(tb testing.TB, cmd *exec.Cmd) (*exec.Cmd, string) {
	tb.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		tb.Skipf("cannot start %v: %v", cmd.Args, err)
	}
	tb.Cleanup(func() { end(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Skipf("%v did not start: %v", cmd.Args, err)
	}
	return cmd, strings.TrimSpace(line)
}

// end kills a command that start has started, with its children, and reaps it.
func end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	cmd.Wait()
}

const idle = "echo ready; exec sleep 600"

// child runs a process that does nothing until the test ends.
func child(tb testing.TB) *exec.Cmd {
	tb.Helper()
	cmd, _ := start(tb, exec.Command("sh", "-c", idle))
	return cmd
}

func open(tb testing.TB, pid int) *proc.PIDFD {
	tb.Helper()
	p, err := proc.Open(pid)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root")
	}
}
