package proc

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseSignals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, status string
		want         []unix.Signal
		fails        bool
	}{
		{"none", "SigBlk:\t0000000000000000\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000000\n", nil, false},
		{"handled and blocked", "SigBlk:\t0000002000000000\nSigCgt:\t0000000000004002\n", []unix.Signal{2, 15, 38}, false},
		{"the last one", "SigBlk:\t8000000000000000\nSigCgt:\t0000000000000001\n", []unix.Signal{1, 64}, false},
		{"a set is missing", "SigBlk:\t0000000000000000\n", nil, true},
		{"no number", "SigBlk:\tx\nSigCgt:\t0\n", nil, true},
	} {
		blocked, caught, err := parseSignals([]byte(c.status))
		got := blocked | caught
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
		var want Signals
		for _, signal := range c.want {
			want |= 1 << (signal - 1)
			if !got.Has(signal) {
				t.Errorf("%s: it lacks %d", c.name, signal)
			}
		}
		if got != want {
			t.Errorf("%s: %x, want %x", c.name, got, want)
		}
	}
	if Signals(^uint64(0)).Has(0) || Signals(^uint64(0)).Has(-1) {
		t.Error("there is no such signal")
	}
}

func TestHeardByAShell(t *testing.T) {
	t.Parallel()
	cmd, p := startShell(t, "trap : USR1; echo; read line")
	heard, err := p.Heard()
	if err != nil || !heard.Has(unix.SIGUSR1) || heard.Has(unix.SIGUSR2) {
		t.Errorf("it hears %x, %v", heard, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := p.Heard(); err == nil {
		t.Error("a dead process hears")
	}
}

// A shell blocks all signals while a program begins to run in its place.
func TestHeardByAShellThatIsBusy(t *testing.T) {
	t.Parallel()
	_, p := startShell(t, "echo; while :; do /bin/true; done")
	// On a machine that has no time for it, it may block them whenever one looks.
	wrong := 0
	for range 100 {
		heard, err := p.Heard()
		if err != nil {
			t.Fatal(err)
		}
		if heard.Has(unix.SIGUSR2) {
			wrong++
		}
		time.Sleep(time.Millisecond)
	}
	if wrong > 5 {
		t.Errorf("it was taken to hear all of them %d times", wrong)
	}
}

// startShell runs a script, and returns once it has said something.
func startShell(t *testing.T, script string) (*exec.Cmd, *PIDFD) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	input, output := pipes(t, cmd)
	t.Cleanup(func() { input.Close() })
	if _, err := output.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return cmd, p
}

func pipes(t *testing.T, cmd *exec.Cmd) (input, output *os.File) {
	t.Helper()
	in, input, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	output, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &strings.Builder{}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); output.Close() })
	return input, output
}
