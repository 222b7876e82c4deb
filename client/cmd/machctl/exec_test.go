package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/machd/machd/client/internal/machine1test"
)

func worldWithMachine(t *testing.T) *machine1test.World {
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	return w
}

func TestExecOnATerminal(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "-t", "c8-ns", "--", "sh", "-c",
		"tty >/dev/null && echo ready; read x; stty size; echo got $x $TERM; printf unfinished; exit 7")
	tm.await("ready")
	tm.typed("this\n")
	tm.exits(7)
	tm.await("this\r\n24 80\r\ngot this xterm\r\nunfinished")
	if text := tm.text(); strings.Contains(text, "onnect") {
		t.Errorf("the screen shows more than the command's: %q", text)
	}
}

func TestExecFollowsTheSizeOfTheTerminal(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "-t", "c8-ns", "sh", "-c",
		`trap 'size=$(stty size); echo $size; test "$size" != "30 100" || exit 5' WINCH; echo ready; while :; do read x; done`)
	tm.await("ready")
	pty.Setsize(tm.master, &pty.Winsize{Rows: 30, Cols: 100})
	tm.await("30 100")
	tm.exits(5)
}

func TestExecOnATerminalIsLeft(t *testing.T) {
	t.Parallel()
	ended := filepath.Join(t.TempDir(), "ended")
	tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "-t", "c8-ns", "sh", "-c", endsInto(ended)+"; echo ready; sleep 60 & wait")
	tm.await("ready")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
	awaitFile(t, ended, "HUP")
}

// endsInto has a shell write into path by which signal it ends.
func endsInto(path string) string {
	return `for s in HUP INT TERM QUIT USR1 USR2; do trap "echo $s >` + path + `.new; mv ` + path + `.new ` + path + `; kill \$!; exit 9" $s; done`
}

func awaitFile(t *testing.T, path, want string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(text)) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %q in %s: %q, %v", want, path, text, err)
		}
		time.Sleep(10 * time.Millisecond) // a file tells nobody that it comes
	}
}

func TestAKeyInterruptsTheCommandOnItsTerminal(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "-t", "c8-ns", "sh", "-c", "echo ready; exec sleep 60")
	tm.await("ready")
	time.Sleep(100 * time.Millisecond) // a shell that has not become sleep yet ends differently
	tm.typed("\x03")
	tm.exits(130)
}

// The signals are the command's to act on, with a terminal and without.
func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	for signal, name := range map[syscall.Signal]string{
		syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT", syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := filepath.Join(t.TempDir(), "ended")
			cmd := command(worldWithMachine(t), "exec", "c8-ns", "sh", "-c", endsInto(ended)+"; echo ready; sleep 60 & wait")
			out := startReady(t, cmd)
			cmd.Process.Signal(signal)
			wantExit(t, cmd, 9)
			awaitFile(t, ended, name)
			out.Close()
		})
	}
	t.Run("on a terminal", func(t *testing.T) {
		t.Parallel()
		ended := filepath.Join(t.TempDir(), "ended")
		tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "-t", "c8-ns", "sh", "-c", endsInto(ended)+"; echo ready; sleep 60 & wait")
		tm.await("ready")
		tm.cmd.Process.Signal(syscall.SIGTERM)
		tm.exits(9)
		awaitFile(t, ended, "TERM")
	})
}

// startReady starts cmd and returns its output after "ready".
func startReady(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	return r
}

func wantExit(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	timeout := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timeout.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("%v, want exit status %d", cmd.ProcessState, want)
	}
}

func TestASignalThatWeIgnoreIsNotPassedOn(t *testing.T) {
	t.Parallel()
	inner := command(worldWithMachine(t), "exec", "c8-ns", "sh", "-c", "echo ready; read x; exit 4")
	cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$@"`, "sh")
	cmd.Args = append(cmd.Args, inner.Args...)
	cmd.Env = inner.Env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer startReady(t, cmd).Close()
	cmd.Process.Signal(syscall.SIGHUP)
	time.Sleep(100 * time.Millisecond) // what is ignored leaves no trace to wait for
	io.WriteString(in, "x\n")
	wantExit(t, cmd, 4)
}

func TestACommandEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	ended := filepath.Join(t.TempDir(), "ended")
	cmd := command(worldWithMachine(t), "exec", "c8-ns", "sh", "-c", endsInto(ended)+"; echo ready; sleep 60 & wait")
	defer startReady(t, cmd).Close()
	cmd.Process.Kill()
	cmd.Wait()
	awaitFile(t, ended, "HUP")
}

func TestACommandWhoseDaemonEndsHasNoStatus(t *testing.T) {
	t.Parallel()
	w := worldWithMachine(t)
	cmd := command(w, "exec", "c8-ns", "sh", "-c", "echo ready; exec sleep 60")
	var stderr bytes.Buffer
	r, pw, _ := os.Pipe()
	cmd.Stdout, cmd.Stderr = pw, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	io.ReadFull(r, make([]byte, len("ready\n")))
	w.HangUp()
	wantExit(t, cmd, 125)
	if want := "machctl: the machine manager has ended, and nobody can tell how the command did\n"; stderr.String() != want {
		t.Errorf("it says %q, want %q", stderr.String(), want)
	}
}

// Who has a terminal of ours can read what is typed there.
func TestATerminalOfOursStaysHere(t *testing.T) {
	t.Parallel()
	script := `test -t 0 || test -t 1 || test -t 2 && echo terminal; echo one; echo two >&2; echo three; read x; echo "got<$x>"; exit 6`
	tm := runOnTerminal(t, worldWithMachine(t), 80, "exec", "c8-ns", "sh", "-c", script)
	tm.exits(6)
	tm.await("one\r\ntwo\r\nthree\r\ngot<>\r\n")
	if strings.Contains(tm.text(), "terminal") {
		t.Errorf("the command has a terminal of ours: %q", tm.text())
	}
	tm = runOnTerminal(t, worldWithMachine(t), 80, "exec", "-i", "c8-ns", "sh", "-c", script)
	tm.await("three")
	tm.typed("this\n")
	tm.exits(6)
	tm.await("got<this>\r\n")
	if strings.Contains(tm.text(), "terminal") {
		t.Errorf("the command has a terminal of ours: %q", tm.text())
	}
}

// What a command leaves behind has its files still, and is not waited for.
func TestExecEndsWithItsCommandWhateverThatLeftBehind(t *testing.T) {
	t.Parallel()
	const script = "sleep 30 & head -c 200000 /dev/zero | tr '\\0' x; echo last; exit 3"
	for _, args := range [][]string{{"exec"}, {"exec", "-t"}} {
		begin := time.Now()
		tm := runOnTerminal(t, worldWithMachine(t), 80, append(args, "c8-ns", "sh", "-c", script)...)
		tm.exits(3)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s took %v", args, took)
		}
		tm.await("xlast\r\n")
	}
}

// That the machine has ended may be heard before how the command did.
func TestAShellTellsHowItsCommandEndedWithTheMachine(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		told bool
		code int
		says string
	}{{true, 7, ""}, {false, 125, "machctl: the machine or the bus has gone, and nobody tells how the command ended\r\n"}} {
		w := worldWithMachine(t)
		dir := t.TempDir()
		told := filepath.Join(dir, "told")
		tm := runOnTerminal(t, w, 80, "-q", "shell", "c8-ns", "/bin/sh", "-c",
			"trap '' HUP; echo ready; exec <&- >&- 2>&-; while test -d "+dir+" && ! test -e "+told+"; do sleep 0.01; done; exit 7")
		tm.await("ready")
		w.Remove("c8-ns")
		if row.told {
			time.Sleep(200 * time.Millisecond) // nobody tells when it has heard of that
			if err := os.WriteFile(told, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tm.exits(row.code)
		if got := strings.TrimPrefix(tm.text(), "ready\r\n"); got != row.says {
			t.Errorf("it says %q, want %q", got, row.says)
		}
	}
}

// A command that asks at once gets the size too.
func TestACommandHasTheSizeFromTheBeginning(t *testing.T) {
	t.Parallel()
	w := worldWithMachine(t)
	runOnTerminal(t, w, 77, "exec", "-t", "c8-ns", "true").exits(0)
	runOnTerminal(t, w, 77, "-q", "shell", "c8-ns", "/bin/true").exits(0)
	for _, call := range w.Calls() {
		if strings.HasPrefix(call, "Exec ") && !(strings.Contains(call, "columns:@q 77") && strings.Contains(call, "rows:@q 24")) {
			t.Errorf("the call has not the terminal's size: %s", call)
		}
	}
}
