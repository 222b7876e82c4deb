package ptyfwd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/ptyfwd"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// A pair is a pseudo-terminal with both ends.
type pair struct{ master, slave *os.File }

func openPair(t *testing.T) pair {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() {
		master.Close()
		slave.Close()
	})
	return pair{master, slave}
}

// A session is a forwarder between a user's terminal and a machine's.
type session struct {
	user, machine pair
	screen        *transcript // what the user sees
	gone          chan struct{}
	result        chan ptyfwd.Result
}

func start(t *testing.T, edit func(*session, *ptyfwd.Options)) *session {
	t.Helper()
	s := &session{user: openPair(t), machine: openPair(t), gone: make(chan struct{}), result: make(chan ptyfwd.Result, 1)}
	s.screen = transcribe(s.user.master)
	o := ptyfwd.Options{Stdin: s.user.slave, Stdout: s.user.slave, Gone: s.gone}
	if edit != nil {
		edit(s, &o)
	}
	go func() {
		result, err := ptyfwd.Run(t.Context(), s.machine.master, o)
		if err != nil {
			t.Error(err)
		}
		s.result <- result
	}()
	return s
}

func (s *session) wait(t *testing.T) ptyfwd.Result {
	t.Helper()
	select {
	case result := <-s.result:
		return result
	case <-time.After(patience):
		t.Fatalf("the session does not end; on the screen: %q", s.screen.text())
		panic("unreachable")
	}
}

// A transcript collects what is read from a file.
type transcript struct {
	mu   sync.Mutex
	cond *sync.Cond
	b    bytes.Buffer
	done bool
}

func transcribe(r io.Reader) *transcript {
	tr := &transcript{}
	tr.cond = sync.NewCond(&tr.mu)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := r.Read(buffer)
			tr.mu.Lock()
			tr.b.Write(buffer[:n])
			tr.done = err != nil
			tr.mu.Unlock()
			tr.cond.Broadcast()
			if err != nil {
				return
			}
		}
	}()
	return tr
}

func (tr *transcript) text() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.b.String()
}

// await waits until what was read contains text.
func (tr *transcript) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.AfterFunc(patience, tr.cond.Broadcast)
	defer timeout.Stop()
	deadline := time.Now().Add(patience)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for !strings.Contains(tr.b.String(), text) {
		if tr.done || time.Now().After(deadline) {
			t.Fatalf("waited for %q, got %q", text, tr.b.String())
		}
		tr.cond.Wait()
	}
}

func modes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *termios
}

func TestWhatIsTypedGoesInAndWhatIsShownComesOut(t *testing.T) {
	t.Parallel()
	before := openPair(t)
	s := start(t, nil)
	in := transcribe(s.machine.slave)
	io.WriteString(s.machine.slave, "login: ")
	s.screen.await(t, "login: ")
	io.WriteString(s.user.master, "root\n")
	in.await(t, "root")
	io.WriteString(s.user.master, "\x1d\x1d\x1d")
	if got := s.wait(t); got.Ending != ptyfwd.Left {
		t.Errorf("got %+v, want Left", got)
	}
	if got, want := modes(t, s.user.slave), modes(t, before.slave); got != want {
		t.Errorf("modes afterwards are %+v, before %+v", got, want)
	}
}

func TestTheTerminalIsRawMeanwhile(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	io.WriteString(s.machine.slave, "ready")
	s.screen.await(t, "ready")
	got := modes(t, s.user.slave)
	if got.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || got.Oflag&unix.OPOST != 0 {
		t.Errorf("modes are %+v", got)
	}
	// ^C is the machine's.
	in := transcribe(s.machine.slave)
	raw := modes(t, s.machine.slave)
	raw.Lflag &^= unix.ISIG | unix.ICANON
	unix.IoctlSetTermios(int(s.machine.slave.Fd()), unix.TCSETS, &raw)
	io.WriteString(s.user.master, "\x03")
	in.await(t, "\x03")
	io.WriteString(s.user.master, "\x1d\x1d\x1d")
	s.wait(t)
}

func TestAllOutputIsShownBeforeTheEnd(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	want := strings.Repeat("0123456789abcdef", 64<<10/16) + "the end"
	go func() {
		io.WriteString(s.machine.slave, want)
		s.machine.slave.Close()
	}()
	got := s.wait(t)
	s.screen.await(t, "the end")
	if text := s.screen.text(); text != want {
		t.Errorf("%d bytes were shown, %d written", len(text), len(want))
	}
	if got.Ending != ptyfwd.HungUp || !got.MidLine {
		t.Errorf("got %+v, want HungUp in the middle of a line", got)
	}
}

func TestALoginOutlivesHangUpsUntilTheMachineIsGone(t *testing.T) {
	t.Parallel()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Login = true })
	name := s.machine.slave.Name()
	for i := range 3 {
		prompt := fmt.Sprintf("login %d: ", i)
		io.WriteString(s.machine.slave, prompt)
		s.screen.await(t, prompt)
		s.machine.slave.Close()
		again, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.machine.slave = again
	}
	close(s.gone)
	io.WriteString(s.machine.slave, "last words\n")
	s.machine.slave.Close()
	if got := s.wait(t); got.Ending != ptyfwd.HungUp || got.MidLine {
		t.Errorf("got %+v, want HungUp at the end of a line", got)
	}
	s.screen.await(t, "last words")
}

func TestALoginEndsWhenTheMachineIsGoneAfterTheHangUp(t *testing.T) {
	t.Parallel()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Login = true })
	io.WriteString(s.machine.slave, "prompt")
	s.screen.await(t, "prompt")
	s.machine.slave.Close()
	close(s.gone)
	if got := s.wait(t); got.Ending != ptyfwd.HungUp {
		t.Errorf("got %+v, want HungUp", got)
	}
}

func TestTheSizeIsThatOfTheUsersTerminal(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *session, _ *ptyfwd.Options) {
		pty.Setsize(s.user.master, &pty.Winsize{Rows: 12, Cols: 34})
	})
	io.WriteString(s.machine.slave, "ready")
	s.screen.await(t, "ready")
	if rows, cols, _ := pty.Getsize(s.machine.slave); rows != 12 || cols != 34 {
		t.Errorf("the machine's terminal has %d rows and %d columns", rows, cols)
	}
	s.machine.slave.Close()
	s.wait(t)
}

func TestACommandRunsOnAfterTheInputEnded(t *testing.T) {
	t.Parallel()
	for name, input := range map[string]string{
		"nothing":                 "",
		"lines":                   "one\ntwo\n",
		"a line without an end":   "one\ntwo",
		"more than a queue holds": strings.Repeat("a line of text\n", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := runInput(t, input, "stty -echo; printf :; cat; sleep 0.1; echo done")
			if want := ":" + strings.TrimSuffix(input, "\n"); !strings.HasPrefix(got, want) {
				t.Errorf("%d bytes came back of %d", len(got), len(input))
			}
			if !strings.HasSuffix(got, "done\n") {
				t.Errorf("output ends with %q", got[max(0, len(got)-20):])
			}
		})
	}
}

func TestInputSurvivesATerminalThatIsResetFirst(t *testing.T) {
	t.Parallel()
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Stdin = stdin })
	io.WriteString(feed, "text\n")
	feed.Close()
	// As a service manager does before it runs the command.
	if err := unix.IoctlSetInt(int(s.machine.slave.Fd()), unix.TCFLSH, unix.TCIOFLUSH); err != nil {
		t.Fatal(err)
	}
	in, err := io.ReadAll(s.machine.slave)
	if err != nil || string(in) != "text\n" {
		t.Errorf("the machine read %q, %v", in, err)
	}
	s.machine.slave.Close()
	s.wait(t)
}

func TestAShellWithLineEditingSeesTheEndOfItsInput(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	for _, input := range []string{"", "echo sum $((20+22))\n", "echo sum $((20+22))"} {
		got := runInput(t, input, "exec bash --norc -i")
		if input != "" && !strings.Contains(got, "sum 42") {
			t.Errorf("input %q: got %q", input, got)
		}
	}
}

// runInput runs a command on a machine's terminal, with input that nobody
// types, and returns the output.
func runInput(t *testing.T, input, command string) string {
	t.Helper()
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.WriteString(feed, input)
		feed.Close()
	}()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	output := transcribe(out)
	machine := openPair(t)
	cmd := exec.Command("sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = machine.slave, machine.slave, machine.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	machine.slave.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := ptyfwd.Run(ctx, machine.master, ptyfwd.Options{Stdin: stdin, Stdout: stdout})
	if err != nil || result.Ending != ptyfwd.HungUp {
		cmd.Process.Kill()
		t.Errorf("the session ended with %+v, %v; output %q", result, err, output.text())
	}
	cmd.Wait()
	stdout.Close()
	output.mu.Lock()
	for !output.done {
		output.cond.Wait()
	}
	output.mu.Unlock()
	return strings.ReplaceAll(output.text(), "\r\n", "\n")
}

func TestALoginWithoutInputEnds(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Stdin, o.Login = null, true })
	io.WriteString(s.machine.slave, "login: ")
	if got := s.wait(t); got.Ending != ptyfwd.InputClosed {
		t.Errorf("got %+v, want InputClosed", got)
	}
}

func TestASessionWhoseOutputNobodyTakesEnds(t *testing.T) {
	t.Parallel()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	out.Close()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Stdout = stdout })
	io.WriteString(s.machine.slave, "text")
	if got := s.wait(t); got.Ending != ptyfwd.OutputClosed {
		t.Errorf("got %+v, want OutputClosed", got)
	}
}

func TestTheUserCanLeaveWhileOutputIsStuck(t *testing.T) {
	t.Parallel()
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := start(t, func(_ *session, o *ptyfwd.Options) { o.Stdout = stdout })
	go io.WriteString(s.machine.slave, strings.Repeat("x", 1<<20))
	io.WriteString(s.user.master, "\x1d\x1d\x1d")
	if got := s.wait(t); got.Ending != ptyfwd.Left {
		t.Errorf("got %+v, want Left", got)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	user, machine := openPair(t), openPair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	result, err := ptyfwd.Run(ctx, machine.master, ptyfwd.Options{Stdin: user.slave, Stdout: user.slave})
	if err != nil || result.Ending != ptyfwd.Canceled {
		t.Errorf("got %+v, %v", result, err)
	}
}
