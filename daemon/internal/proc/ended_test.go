package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// The kernel tells once the parent has been told, whoever that is: here it is
// a shell between us and the process.
func TestWaitStatus(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		script string
		want   func(unix.WaitStatus) bool
	}{
		"exited": {"exit 7", func(s unix.WaitStatus) bool { return s.Exited() && s.ExitStatus() == 7 }},
		"killed": {"kill -KILL $$", func(s unix.WaitStatus) bool { return s.Signaled() && s.Signal() == unix.SIGKILL }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer write.Close()
			parent := exec.Command("sh", "-c", `sh -c 'read line; `+tt.script+`' <&3 & echo $!; wait; sleep 60`)
			parent.ExtraFiles = []*os.File{read}
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { parent.Process.Kill(); parent.Wait() })
			read.Close()
			line := make([]byte, 32)
			n, err := out.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
			if err != nil {
				t.Fatal(err)
			}
			p := open(t, pid)
			if status, err := p.WaitStatus(); !errors.Is(err, proc.ErrNotTold) {
				t.Errorf("while it runs: %v, %v", status, err)
			}
			if _, err := write.WriteString("\n"); err != nil {
				t.Fatal(err)
			}
			var status unix.WaitStatus
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if status, err = p.WaitStatus(); err == nil {
					break
				}
			}
			if err != nil || !tt.want(status) {
				t.Errorf("it ended with %#x, %v", status, err)
			}
		})
	}
}

func TestWaitStatusOfWhatIsClosed(t *testing.T) {
	t.Parallel()
	p := open(t, child(t).Process.Pid)
	p.Close()
	if _, err := p.WaitStatus(); !errors.Is(err, proc.ErrNotTold) {
		t.Error(err)
	}
	var none *proc.PIDFD
	if _, err := none.WaitStatus(); !errors.Is(err, proc.ErrNotTold) {
		t.Error(err)
	}
}
